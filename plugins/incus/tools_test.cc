// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/tools.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "plugins/common/json_testing.h"
#include "plugins/common/seccomp_program.h"
#include "plugins/common/small_file.h"

namespace csb::incus {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ToolsTest : public ::testing::Test {
 protected:
  ToolsTest() {
    options_.agent = folder_ / "agent";
    WriteText(options_.agent, kAgent);
  }
  static mode_t ModeOf(const std::string& path) {
    struct stat s {};
    return stat(path.c_str(), &s) == 0 ? s.st_mode & 07777 : 0;
  }
  size_t Folders() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(names_.Tools())) count += entry.exists();
    return count;
  }

  static constexpr std::string_view kAgent{"an\0agent", 8};
  const TemporaryFolder folder_;
  const Names names_{folder_ / "state", folder_ / "run", "0123456789abcdef"};
  Options options_;
};

TEST_F(ToolsTest, TheFolderHasTheAgentAndTheFilter) {
  const mode_t before = umask(0077);
  Tools tools(options_, names_);
  const auto folder = tools.Folder();
  umask(before);
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_THAT(*folder, StartsWith(names_.Tools() + "/"));
  EXPECT_EQ(*ReadSmallFile(*folder + "/clara-sandbox-agent"), kAgent);
  EXPECT_EQ(*ReadSmallFile(*folder + "/seccomp"), *SeccompProgram());
  // Whatever the umask: root inside is a stranger here, and nobody may change it.
  EXPECT_EQ(ModeOf(*folder + "/clara-sandbox-agent"), 0555u);
  EXPECT_EQ(ModeOf(*folder + "/seccomp"), 0444u);
  EXPECT_EQ(ModeOf(*folder) & 0005u, 0005u);
  EXPECT_EQ(*tools.Folder(), *folder);
  EXPECT_EQ(Folders(), 1u);
}

// What is mounted somewhere is never changed.
TEST_F(ToolsTest, AnotherAgentHasAnotherFolder) {
  Tools first(options_, names_);
  const auto one = first.Folder();
  ASSERT_TRUE(one);
  const std::string digest = *first.Digest();
  WriteText(options_.agent, "a newer agent");
  Tools second(options_, names_);
  const auto two = second.Folder();
  ASSERT_TRUE(two);
  EXPECT_NE(*one, *two);
  EXPECT_NE(*second.Digest(), digest);
  EXPECT_EQ(*ReadSmallFile(*one + "/clara-sandbox-agent"), kAgent);
  EXPECT_EQ(*ReadSmallFile(*two + "/clara-sandbox-agent"), "a newer agent");
  EXPECT_EQ(*first.Folder(), *one);
}

TEST_F(ToolsTest, OneThatWasRemovedIsMadeAnew) {
  Tools tools(options_, names_);
  const auto folder = tools.Folder();
  ASSERT_TRUE(folder);
  std::filesystem::remove_all(*folder);
  EXPECT_EQ(*tools.Folder(), *folder);
  EXPECT_TRUE(Exists(*folder + "/seccomp"));
}

TEST_F(ToolsTest, HostsThatStartAtOnceFindItWhole) {
  std::vector<std::thread> threads;
  Tools tools(options_, names_);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      const auto folder = tools.Folder();
      ASSERT_TRUE(folder) << folder.error().message;
      EXPECT_TRUE(Exists(*folder + "/seccomp"));
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Folders(), 1u) << "nothing half made stays beside it";
}

TEST_F(ToolsTest, AnAgentThatCantBeReadSaysSo) {
  WriteText(folder_ / "empty", "");
  for (const std::string& bad : {folder_ / "nowhere", folder_ / "empty", folder_.path(), std::string()}) {
    options_.agent = bad;
    Tools tools(options_, names_);
    for (const Error& error : {tools.Folder().error(), tools.Read().error(), tools.Digest().error()}) {
      EXPECT_EQ(error.code, CSB_E_UNAVAILABLE) << bad;
      EXPECT_THAT(error.message, HasSubstr("the agent can't be read (" + bad + ")"));
      EXPECT_THAT(error.hint, HasSubstr("incus.agent"));
    }
  }
}

}  // namespace
}  // namespace csb::incus
