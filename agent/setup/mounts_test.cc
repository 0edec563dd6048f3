// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/mounts.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>

namespace csb::agent {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kLxcfs[] = "fuse.lxcfs";

TEST(Mounts, ThoseOfTheTypeThatCanBeWrittenToAreFound) {
  const auto found = WritableMounts(
      "740 735 0:55 / /proc rw,nosuid shared:5 - proc proc rw\n"
      "741 740 0:60 /proc/stat /proc/stat rw,nosuid,nodev,relatime - fuse.lxcfs lxcfs rw,allow_other\n"
      "742 740 0:60 /proc/uptime /proc/uptime ro,nosuid,nodev - fuse.lxcfs lxcfs rw,allow_other\n"
      "743 740 0:60 /sys /a\\040b rw,noexec shared:1 master:2 - fuse.lxcfs lxcfs rw\n",
      kLxcfs);
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].path, "/proc/stat");
  EXPECT_EQ(found[0].flags, static_cast<unsigned long>(MS_NOSUID | MS_NODEV));
  EXPECT_EQ(found[1].path, "/a b");
  EXPECT_EQ(found[1].flags, static_cast<unsigned long>(MS_NOEXEC));
}

TEST(Mounts, LinesThatAreNoneOfTheKernelsAreNoMounts) {
  for (const char* text : {"", "\n\n", "- fuse.lxcfs", "1 2 3 4 /x rw -", "1 2 3 4 /x rw fuse.lxcfs"})
    EXPECT_THAT(WritableMounts(text, kLxcfs), IsEmpty()) << text;
}

// In a mount namespace of its own; the exit code of `work`, 77 where there is no right to one.
int Apart(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNS) < 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) _exit(77);
    _exit(work());
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Mounts, WhatWasWritableRefusesToBeWritten) {
  char folder[] = "/tmp/mounts_test-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string file = std::string(folder) + "/file";
  const int code = Apart([&] {
    if (mount("mounts_test", folder, "ramfs", MS_NOSUID | MS_NODEV, nullptr) < 0) return 77;
    const int before = open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (before < 0) return 1;
    close(before);
    if (!MakeMountsReadOnly("ramfs")) return 2;
    if (open(file.c_str(), O_WRONLY | O_CLOEXEC) >= 0 || errno != EROFS) return 3;
    return MakeMountsReadOnly("ramfs") ? 0 : 4;  // an agent that comes after another
  });
  rmdir(folder);
  if (code == 77) GTEST_SKIP() << "no right to mount";
  EXPECT_EQ(code, 0);
}

TEST(Mounts, AHiddenFileIsEmptyAndHiddenOnce) {
  char file[] = "/tmp/mounts_test-XXXXXX";
  const int made = mkstemp(file);
  ASSERT_GE(made, 0);
  ASSERT_EQ(write(made, "told", 4), 4);
  close(made);
  const int code = Apart([&] {
    const std::vector<std::string> paths = {file, "/tmp/mounts_test/none", std::string(file) + "/none"};
    if (!HideFiles(paths) || !HideFiles(paths)) return 1;
    char byte;
    const int hidden = open(file, O_RDONLY | O_CLOEXEC);
    if (hidden < 0 || read(hidden, &byte, 1) != 0) return 2;
    // Once: what is below comes out with the one that lies upon it.
    if (umount2(file, MNT_DETACH) < 0) return 3;
    const int shown = open(file, O_RDONLY | O_CLOEXEC);
    return shown >= 0 && read(shown, &byte, 1) == 1 ? 0 : 4;
  });
  unlink(file);
  if (code == 77) GTEST_SKIP() << "no right to mount";
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace csb::agent
