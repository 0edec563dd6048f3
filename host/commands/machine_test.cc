// SPDX-License-Identifier: Apache-2.0
#include "host/commands/machine.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace csb::host {
namespace {

using Level = Finding::Level;

// A small machine in a folder.
class MachineTest : public testing::Test {
 protected:
  MachineTest() {
    char name[] = "/tmp/csb-machine-test-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~MachineTest() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  Finding Only(const Findings& findings) {
    EXPECT_EQ(findings.size(), 1u);
    return findings.at(0);
  }
  std::string root_;
};

TEST_F(MachineTest, UserNamespacesThatAreForbiddenSayWhichSysctl) {
  EXPECT_EQ(Only(CheckUserNamespaces({root_, 1000})).level, Level::kOk);
  Write("/proc/sys/kernel/unprivileged_userns_clone", "0\n");
  EXPECT_EQ(Only(CheckUserNamespaces({root_, 0})).level, Level::kOk);
  const Finding debian = Only(CheckUserNamespaces({root_, 1000}));
  EXPECT_EQ(debian.level, Level::kFail);
  EXPECT_NE(debian.hint.find("kernel.unprivileged_userns_clone=1"), std::string::npos);
  Write("/proc/sys/user/max_user_namespaces", "0\n");
  EXPECT_NE(Only(CheckUserNamespaces({root_, 0})).text.find("user.max_user_namespaces"), std::string::npos);
}

TEST_F(MachineTest, AppArmorsRestrictionNeedsAProfile) {
  Write("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
  const Finding finding = Only(CheckUserNamespaces({root_, 1000}));
  EXPECT_EQ(finding.level, Level::kFail);
  EXPECT_NE(finding.hint.find("profile bwrap"), std::string::npos);
  EXPECT_EQ(Only(CheckUserNamespaces({root_, 0})).level, Level::kOk);
  Write("/etc/apparmor.d/bwrap", "profile");
  EXPECT_EQ(Only(CheckUserNamespaces({root_, 1000})).level, Level::kOk);
}

TEST_F(MachineTest, Version2NeedsTheControllers) {
  Write("/proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
  Write("/proc/self/cgroup", "0::/user.slice\n");
  Write("/sys/fs/cgroup/user.slice/cgroup.controllers", "cpuset memory pids\n");
  const Finding finding = Only(CheckCgroups({root_, 1000}));
  EXPECT_EQ(finding.level, Level::kWarn);
  EXPECT_NE(finding.text.find("without cpu in"), std::string::npos) << finding.text;
  Write("/sys/fs/cgroup/user.slice/cgroup.controllers", "cpu io memory pids\n");
  EXPECT_EQ(Only(CheckCgroups({root_, 1000})).level, Level::kOk);
}

TEST_F(MachineTest, Version1IsUsedWhereItIsMounted) {
  std::string mounts = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
  for (const std::string controllers : {"memory", "cpu,cpuacct"}) {
    mounts += "cgroup /sys/fs/cgroup/" + controllers + " cgroup rw,nosuid," + controllers + " 0 0\n";
    Write("/sys/fs/cgroup/" + controllers + "/tasks", "");
  }
  Write("/proc/self/mounts", mounts);
  EXPECT_NE(Only(CheckCgroups({root_, 0})).text.find("version 1, without pids"), std::string::npos);
  Write("/proc/self/mounts", mounts + "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n");
  Write("/sys/fs/cgroup/pids/tasks", "");
  EXPECT_EQ(Only(CheckCgroups({root_, 0})).level, Level::kOk);
}

TEST_F(MachineTest, NoCgroupsAtAll) {
  Write("/proc/self/mounts", "proc /proc proc rw 0 0\n");
  EXPECT_EQ(Only(CheckCgroups({root_, 0})).level, Level::kWarn);
}

TEST_F(MachineTest, AKernelWithoutSeccompOrNamespacesFails) {
  for (const Finding& finding : CheckKernel({root_, 0}))
    EXPECT_EQ(finding.level, Level::kFail) << finding.name;
  for (const char* space : {"user", "pid", "mnt", "ipc", "uts", "cgroup", "net"})
    Write(std::string("/proc/self/ns/") + space, "");
  Write("/proc/sys/kernel/seccomp/actions_avail",
        "kill_process kill_thread trap errno user_notif trace log allow\n");
  for (const Finding& finding : CheckKernel({root_, 0})) EXPECT_EQ(finding.level, Level::kOk) << finding.text;
}

TEST_F(MachineTest, FoldersMayBeMissingButNotFiles) {
  EXPECT_EQ(CheckFolder("data folder", root_).level, Level::kOk);
  EXPECT_EQ(CheckFolder("data folder", root_ + "/a/b/c").text, root_ + "/a/b/c (made when needed)");
  Write("/file", "");
  EXPECT_EQ(CheckFolder("data folder", root_ + "/file/x").level, Level::kFail);
}

}  // namespace
}  // namespace csb::host
