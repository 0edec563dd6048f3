// SPDX-License-Identifier: Apache-2.0
#include "agent/command/pip.h"

#include <gtest/gtest.h>

namespace csb::agent {
namespace {

TEST(Pip, AcceptsOneRequirement) {
  for (const char* package :
       {"requests", "A", "zope.interface", "ruamel.yaml", "typing_extensions", "x-y", "requests[socks]",
        "requests[socks, security]>=2.0,<3", "a==1.0", "a ~= 1.4.2", "a===1.0-weird", "a!=1.*",
        "a>=1.0.dev1+local", "a (>=1,<2)", "numpy<2", " padded "}) {
    const auto requirement = CheckRequirement(package, "/workspace");
    EXPECT_TRUE(requirement) << package << ": " << (requirement ? "" : requirement.error().message);
  }
}

TEST(Pip, RefusesOptionsAddressesAndMoreThanOne) {
  for (const char* package : {"",
                              "   ",
                              "-r requirements.txt",
                              "--index-url=http://evil",
                              "-e .",
                              "a b",
                              "a; os_name=='nt'",
                              "a @ https://x/y.whl",
                              "git+https://example.org/x.git",
                              "https://example.org/a.whl",
                              "file:///a.whl",
                              "a,b",
                              "a\n-r x",
                              "a[",
                              "a[]",
                              "a[b",
                              "a==",
                              "==1",
                              "a=1",
                              "a>=1,",
                              ".",
                              "..",
                              "a-",
                              "-a",
                              "a&b",
                              "a|b",
                              "$(x)",
                              "a`b`",
                              "caf\xc3\xa9",
                              "./",
                              "/workspace",
                              "../x",
                              "/etc/passwd",
                              "a.whl;x.whl",
                              "-x.whl"}) {
    const auto requirement = CheckRequirement(package, "/workspace");
    EXPECT_FALSE(requirement) << package;
    if (!requirement) {
      EXPECT_EQ(requirement.error().code, CSB_E_INVALID);
      EXPECT_EQ(requirement.error().message.rfind("package: ", 0), 0u) << requirement.error().message;
    }
  }
  EXPECT_FALSE(CheckRequirement(std::string("a\0b", 3), "/w"));
  EXPECT_FALSE(CheckRequirement(std::string(5000, 'a'), "/w"));
}

TEST(Pip, PathsBecomeAbsolute) {
  const auto relative = CheckRequirement("dist/pkg-1.0-py3-none-any.whl", "/workspace");
  ASSERT_TRUE(relative);
  EXPECT_EQ(relative->text, "/workspace/dist/pkg-1.0-py3-none-any.whl");
  EXPECT_EQ(relative->folder, "/workspace/dist");
  const auto absolute = CheckRequirement("/tmp/pkg-1.0.tar.gz", "/workspace");
  ASSERT_TRUE(absolute);
  EXPECT_EQ(absolute->text, "/tmp/pkg-1.0.tar.gz");
}

}  // namespace
}  // namespace csb::agent
