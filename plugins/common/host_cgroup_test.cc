// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/host_cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace csb {
namespace {

constexpr char kV1Mounts[] =
    "25 30 0:22 / /proc rw - proc proc rw\n"
    "31 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "33 31 0:28 /docker/4f /mnt/part rw - cgroup cgroup rw,memory\n"
    "34 31 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:15 - cgroup cgroup rw,memory\n"
    "35 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
constexpr char kV2Mounts[] =
    "31 29 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

// "1 /sys/fs/cgroup/…": the version and the folder.
std::string Find(const char* cgroup, const char* mounts, const char* controller = "memory") {
  int version = 0;
  const std::string folder = FindGroup(cgroup, mounts, controller, &version);
  return folder.empty() ? "" : std::to_string(version) + " " + folder;
}

TEST(HostCgroup, IsFoundInBothVersions) {
  constexpr char kV1[] = "9:memory:/docker/4f2a\n4:cpu,cpuacct:/docker/4f2a\n0::/system.slice\n";
  EXPECT_EQ(Find(kV1, kV1Mounts), "1 /sys/fs/cgroup/memory/docker/4f2a");
  EXPECT_EQ(Find(kV1, kV1Mounts, "cpu"), "1 /sys/fs/cgroup/cpu,cpuacct/docker/4f2a");
  EXPECT_EQ(Find("0::/system.slice/docker-4f2a.scope\n", kV2Mounts),
            "2 /sys/fs/cgroup/system.slice/docker-4f2a.scope");
  // Version 2 beside version 1 hierarchies that have other controllers.
  EXPECT_EQ(Find("4:cpu,cpuacct:/docker/4f2a\n0::/docker/4f2a\n", kV1Mounts),
            "2 /sys/fs/cgroup/unified/docker/4f2a");
}

TEST(HostCgroup, AHierarchyThatIsNotMountedFromItsRootIsNoPlaceToLook) {
  EXPECT_EQ(Find("9:memory:/docker/4f2a\n", "33 31 0:28 /docker /mnt rw - cgroup cgroup rw,memory\n"), "");
  EXPECT_EQ(Find("9:memory:/docker/4f2a\n", ""), "");
  EXPECT_EQ(Find("9:memory:/docker/4f2a\n", "34 31 0:28 / /m rw - cgroup cgroup rw,memoryx\n"), "");
}

TEST(HostCgroup, GarbageFindsNothing) {
  for (const char* cgroup :
       {"", "\n\n", ":", "::", "9:memory", "9:memory:", "9:memory:relative", "9:memory:/../../etc",
        "9:memory:/docker/../..", "0::/../other", "memory/docker:"})
    for (const char* mounts :
         {kV1Mounts, kV2Mounts, "", " - ", "x - cgroup2", "1 2 3 / - - - - -\n", "1 2 3 / /m rw - cgroup2"})
      EXPECT_EQ(Find(cgroup, mounts), "") << cgroup << " | " << mounts;
}

TEST(HostCgroup, OfAProcessThatIsNotThereThereIsNone) {
  EXPECT_EQ(OomFileOf(0), "");
  const HostLimits limits = HostLimitsOf(0, "4f2a");
  EXPECT_FALSE(limits.memory || limits.cores || limits.pids || limits.swap_excluded);
  const std::string own = OomFileOf(getpid());
  EXPECT_TRUE(own.empty() || access(own.c_str(), F_OK) == 0) << own;
}

// A pid of another namespace is somebody else's here: what it has is not told as the container's.
TEST(HostCgroup, AnotherProcessesLimitsAreNotTheContainers) {
  for (const char* container : {"", "53e338932a18218725900dba4989f7ecb4d539b4af3878e716942fa6b9032c86"}) {
    const HostLimits limits = HostLimitsOf(getpid(), container);
    EXPECT_FALSE(limits.memory || limits.cores || limits.pids) << container;
  }
}

}  // namespace
}  // namespace csb
