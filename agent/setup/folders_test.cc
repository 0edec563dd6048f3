// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/folders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/setup/network.h"
#include "agent/setup/privileges.h"

namespace csb::agent {
namespace {

using ::testing::HasSubstr;

class Folders : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/folders_test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    identity_.workspace = root_ + "/workspace";
    identity_.uid = 65534;
    identity_.gid = 65533;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  static struct stat Look(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(lstat(path.c_str(), &info), 0) << path;
    return info;
  }
  static std::string Text(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  void NeedsRoot() {
    if (geteuid() != 0) GTEST_SKIP() << "owners need root";
  }
  std::string root_;
  Identity identity_;
};

TEST_F(Folders, TheControlFolderIsMadeWithItsParentsAndClosed) {
  const std::string path = root_ + "/run/clara/ctl";
  ASSERT_TRUE(MakeControlFolder(path));
  EXPECT_EQ(Look(path).st_mode, S_IFDIR | 0700u);
  EXPECT_EQ(Look(root_ + "/run").st_mode, S_IFDIR | 0755u);
  chmod(path.c_str(), 0777);
  ASSERT_TRUE(MakeControlFolder(path + "/"));
  EXPECT_EQ(Look(path).st_mode, S_IFDIR | 0700u);
}

TEST_F(Folders, TheControlFolderIsNeverALinkOrAnothersOrAFile) {
  std::filesystem::create_symlink("/tmp", root_ + "/link");
  EXPECT_FALSE(MakeControlFolder(root_ + "/link"));
  std::ofstream(root_ + "/file") << "x";
  EXPECT_FALSE(MakeControlFolder(root_ + "/file"));
  const auto below = MakeControlFolder(root_ + "/file/ctl");
  ASSERT_FALSE(below);
  EXPECT_THAT(below.error().message, HasSubstr("Not a directory"));
  NeedsRoot();
  std::filesystem::create_directory(root_ + "/others");
  ASSERT_EQ(chown((root_ + "/others").c_str(), 65534, 65534), 0);
  const auto others = MakeControlFolder(root_ + "/others");
  ASSERT_FALSE(others);
  EXPECT_THAT(others.error().message, HasSubstr("belongs to uid 65534"));
}

TEST_F(Folders, TheWorkspaceBecomesTheUsersButNotWhatIsInIt) {
  NeedsRoot();
  identity_.separate = true;
  std::filesystem::create_directory(identity_.workspace);
  std::ofstream(identity_.workspace + "/old") << "x";
  chmod(identity_.workspace.c_str(), 0751);
  ASSERT_TRUE(OwnWorkspace(identity_));
  EXPECT_EQ(Look(identity_.workspace).st_uid, 65534u);
  EXPECT_EQ(Look(identity_.workspace).st_gid, 65533u);
  EXPECT_EQ(Look(identity_.workspace).st_mode, S_IFDIR | 0751u);
  EXPECT_EQ(Look(identity_.workspace + "/old").st_uid, 0u);
}

TEST_F(Folders, AMissingWorkspaceIsMade) {
  ASSERT_TRUE(OwnWorkspace(identity_));
  EXPECT_EQ(Look(identity_.workspace).st_uid, geteuid());
  EXPECT_EQ(Look(identity_.workspace).st_mode, S_IFDIR | 0755u);
}

TEST_F(Folders, AWorkspaceThatIsALinkIsLeftAlone) {
  NeedsRoot();
  identity_.separate = true;
  std::filesystem::create_directory(root_ + "/target");
  std::filesystem::create_directory_symlink(root_ + "/target", identity_.workspace);
  EXPECT_FALSE(OwnWorkspace(identity_));
  EXPECT_EQ(Look(root_ + "/target").st_uid, 0u);
}

TEST_F(Folders, WithoutTheRightToChangeOwnersTheErrorSaysSo) {
  NeedsRoot();
  identity_.separate = true;
  std::filesystem::create_directory(identity_.workspace);
  const pid_t child = fork();
  if (child == 0) {
    if (!DropPrivileges({})) _exit(2);
    const auto owned = OwnWorkspace(identity_);
    const bool told = !owned && owned.error().message.find("Operation not permitted") != std::string::npos &&
                      owned.error().hint.find("CAP_CHOWN") != std::string::npos;
    _exit(told ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Folders, LocalhostIsAnIPv6AddressOnlyWhereThereIsOne) {
  NeedsRoot();
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNET) < 0) _exit(77);  // its loopback is down
    NameLoopback(root_ + "/without");
    if (!BringUpLoopback()) _exit(1);
    NameLoopback(root_ + "/with");
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "no right to make a network namespace";
  ASSERT_EQ(status, 0);
  EXPECT_EQ(Text(root_ + "/without"), "127.0.0.1\tlocalhost\n");
  const bool has_ipv6 = access("/proc/net/if_inet6", F_OK) == 0;
  EXPECT_EQ(Text(root_ + "/with").find("\n::1\tlocalhost") != std::string::npos, has_ipv6);
}

TEST_F(Folders, AHostsFileWithoutContentGetsLocalhostAndAnotherStays) {
  const std::string path = root_ + "/hosts";
  NameLoopback(path);
  EXPECT_THAT(Text(path), HasSubstr("127.0.0.1\tlocalhost\n"));
  EXPECT_EQ(Look(path).st_mode & 0777, 0644u);
  std::ofstream(path) << " \n\n";
  NameLoopback(path);
  EXPECT_THAT(Text(path), HasSubstr("127.0.0.1\tlocalhost\n"));
  std::ofstream(path) << "10.1.2.3 box\n";
  NameLoopback(path);
  EXPECT_EQ(Text(path), "10.1.2.3 box\n");
  NameLoopback(root_ + "/no/folder/hosts");  // must not end the process
}

}  // namespace
}  // namespace csb::agent
