// SPDX-License-Identifier: Apache-2.0
#include "host/service/requirement.h"

#include <gtest/gtest.h>

#include <string>

namespace csb::host {
namespace {

TEST(Requirement, AcceptsWhatPeopleInstall) {
  for (const char* text : {"numpy",
                           "six",
                           "zope.interface",
                           "Flask-SQLAlchemy",
                           "a",
                           "a1",
                           "backports.zoneinfo",
                           "requests==2.31.0",
                           "requests>=2,<3",
                           "requests >= 2 , < 3",
                           "requests (>=2)",
                           "requests[socks]",
                           "requests[socks,security]>=2",
                           "requests[ socks ]",
                           "x[]",
                           "django~=4.2",
                           "django!=4.2.1",
                           "x===1.0",
                           "x==1.*",
                           "x==1!2.0+local.1",
                           "x>=1.0rc1",
                           "demo-1.0-py3-none-any.whl",
                           "./demo-1.0-py3-none-any.whl",
                           "/workspace/my wheels/x.whl",
                           "wheels/X.WHL"}) {
    const auto s = CheckRequirement(text);
    EXPECT_TRUE(s) << text << ": " << (s ? "" : s.error().message);
  }
}

TEST(Requirement, RefusesOptionsUrlsAndMore) {
  for (const char* text : {"",
                           "-r",
                           "-rrequirements.txt",
                           "--index-url=http://evil",
                           "-e.",
                           "--",
                           "-",
                           "numpy --index-url http://x",
                           "numpy\n--index-url",
                           "numpy\t-e",
                           "numpy pandas",
                           "numpy,pandas",
                           "numpy==1 pandas",
                           "numpy==1,",
                           "git+https://github.com/x/y",
                           "https://x/y.whl",
                           "http://x",
                           "file:///etc/x.whl",
                           "file:x.whl",
                           "x @ https://e/x.whl",
                           "name@1",
                           "x; python_version<'3'",
                           "x[",
                           "x[a",
                           "x[a b]",
                           "x[,]",
                           "x[-a]",
                           "x==",
                           "x=1",
                           "x>=-1",
                           "x (>=1",
                           "x >=1)",
                           ".",
                           "..",
                           "./dir",
                           "dir/",
                           "/etc/passwd",
                           "x.tar.gz/",
                           "a/b.tar.gz",
                           "-x.whl",
                           "_x",
                           "x_",
                           ".x",
                           "x.",
                           "x==$(id)",
                           "x`id`",
                           "x$HOME",
                           "x|y",
                           "x&y",
                           "x>y z",
                           "n\xc3\xbcmpy",
                           "x==1;id",
                           "x\\y",
                           "'x'",
                           "\"x\"",
                           "x*",
                           "{x}",
                           "~/x",
                           "%x"}) {
    const auto s = CheckRequirement(text);
    ASSERT_FALSE(s) << text;
    EXPECT_EQ(s.error().code, CSB_E_INVALID);
    EXPECT_EQ(s.error().message.rfind("package: ", 0), 0u) << s.error().message;
    EXPECT_FALSE(s.error().hint.empty());
  }
}

TEST(Requirement, RefusesBytesThatHide) {
  EXPECT_FALSE(CheckRequirement(std::string("numpy\0--evil", 12)));
  EXPECT_FALSE(CheckRequirement(std::string("numpy\r")));
  EXPECT_FALSE(CheckRequirement(std::string("\x7fx.whl")));
  EXPECT_FALSE(CheckRequirement(std::string(1025, 'x')));
  EXPECT_FALSE(CheckRequirement(std::string(4097, 'x') + ".whl"));
}

}  // namespace
}  // namespace csb::host
