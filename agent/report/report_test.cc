// SPDX-License-Identifier: Apache-2.0
#include "agent/report/report.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "agent/report/cgroup_limits.h"
#include "agent/report/machine.h"
#include "agent/testing/agent_under_test.h"

namespace csb::agent {
namespace {

class MadeUp : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/report_test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    chmod(name, 0755);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::map<std::string, std::string>& files) {
    for (const auto& [name, text] : files) {
      const std::filesystem::path path = root_ + "/" + name;
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path) << text;
    }
  }
  std::string root_;
};

class Cgroup : public MadeUp {
 protected:
  // The limits with these files below root.
  CgroupLimits With(const std::map<std::string, std::string>& files) {
    Write(files);
    return ReadCgroupLimits(root_);
  }
};

class MachineTest : public MadeUp {
 protected:
  void In(const std::string& pids, const std::string& users) {
    std::filesystem::remove_all(root_ + "/proc/self/ns");
    std::filesystem::create_directories(root_ + "/proc/self/ns");
    std::filesystem::create_symlink("pid:[" + pids + "]", root_ + "/proc/self/ns/pid");
    std::filesystem::create_symlink("user:[" + users + "]", root_ + "/proc/self/ns/user");
  }
};

TEST_F(MachineTest, ItsSize) {
  Write({{"proc/meminfo", "MemTotal:         262144 kB\nMemFree:          251972 kB\n"},
         {"proc/stat", "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n"}});
  EXPECT_EQ(ReadMachine(root_).memory, 262144u * 1024);
  EXPECT_EQ(ReadMachine(root_).processors, 2u);
  Write({{"proc/meminfo", "MemTotal: much\n"}, {"proc/stat", "cpu  1 2 3\n"}});
  EXPECT_FALSE(ReadMachine(root_).memory || ReadMachine(root_).processors);
}

TEST_F(MachineTest, IsItsOwnOnlyInTheFirstNamespacesOnAHypervisor) {
  EXPECT_EQ(ReadMachine(root_).kind, "");
  In("4026531836", "4026531837");
  Write({{"proc/cpuinfo", "model name\t: hypervisorless\nflags\t\t: fpu vme\n\nflags\t\t: fpu\n"}});
  EXPECT_EQ(ReadMachine(root_).kind, "none");
  Write({{"proc/cpuinfo", "flags\t\t: fpu hypervisor vme\n\nflags\t\t: fpu hypervisor\n"}});
  EXPECT_EQ(ReadMachine(root_).kind, "vm");
  In("4026532555", "4026531837");
  EXPECT_EQ(ReadMachine(root_).kind, "container");
  In("4026531836", "4026532556");
  EXPECT_EQ(ReadMachine(root_).kind, "container");
  Write({{"proc/cpuinfo", "Features\t: fp asimd\n"}, {"sys/class/dmi/id/sys_vendor", "QEMU\n"}});
  In("4026531836", "4026531837");
  EXPECT_EQ(ReadMachine(root_).kind, "vm");
}

TEST_F(Cgroup, Version1OfAContainerWhoseOwnGroupIsMounted) {
  // The namespace is the host's: the path is known and does not exist in here.
  const auto limits = With({
      {"proc/self/cgroup",
       "12:pids:/docker/abc\n5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"},
      {"sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"},
      {"sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "268435456\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
      {"sys/fs/cgroup/pids/pids.max", "128\n"},
  });
  EXPECT_EQ(limits.memory, 268435456u);
  EXPECT_EQ(limits.memory_swap, 268435456u);
  EXPECT_EQ(limits.memory_by, "cgroup v1 memory");
  EXPECT_EQ(limits.cpu_cores, 1.5);
  EXPECT_EQ(limits.cpu_by, "cgroup v1 cpu");
  EXPECT_EQ(limits.pids, 128u);
  EXPECT_EQ(limits.pids_by, "cgroup v1 pids");
}

TEST_F(Cgroup, Version1Unlimited) {
  const auto limits = With({{"proc/self/cgroup", "5:memory:/\n3:cpu,cpuacct:/\n"},
                            {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
                            {"sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "9223372036854771712\n"},
                            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
                            {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
                            {"sys/fs/cgroup/pids/pids.max", "max\n"}});
  EXPECT_FALSE(limits.memory || limits.memory_swap || limits.cpu_cores || limits.pids);
  // Seen, and without a bound.
  EXPECT_EQ(limits.memory_by, "cgroup v1 memory");
  EXPECT_EQ(limits.cpu_by, "cgroup v1 cpu");
  EXPECT_EQ(limits.pids_by, "cgroup v1 pids");
}

TEST_F(Cgroup, TheWholeTreeIsMountedAndTheTightestAncestorCounts) {
  const auto limits = With({
      {"proc/self/cgroup", "5:memory:/box/one\n"},
      {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
      {"sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000\n"},
      {"sys/fs/cgroup/memory/box/one/memory.limit_in_bytes", "4000\n"},
      {"sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1\n"},
  });
  EXPECT_EQ(limits.memory, 1000u);
}

TEST_F(Cgroup, Version2) {
  const auto limits = With({{"proc/self/cgroup", "0::/\n"},
                            {"sys/fs/cgroup/memory.max", "536870912\n"},
                            {"sys/fs/cgroup/memory.swap.max", "0\n"},
                            {"sys/fs/cgroup/cpu.max", "50000 100000\n"},
                            {"sys/fs/cgroup/pids.max", "64\n"}});
  EXPECT_EQ(limits.memory, 536870912u);
  EXPECT_EQ(limits.memory_swap, 536870912u);
  EXPECT_EQ(limits.memory_by, "cgroup v2 memory");
  EXPECT_EQ(limits.cpu_cores, 0.5);
  EXPECT_EQ(limits.cpu_by, "cgroup v2 cpu");
  EXPECT_EQ(limits.pids, 64u);
  EXPECT_EQ(limits.pids_by, "cgroup v2 pids");
}

TEST_F(Cgroup, Version2WithABoundOnAnInnerGroupOnly) {
  const auto limits = With({{"proc/self/cgroup", "0::/system.slice/docker-abc.scope\n"},
                            {"sys/fs/cgroup/system.slice/memory.max", "max\n"},
                            {"sys/fs/cgroup/system.slice/docker-abc.scope/memory.max", "1048576\n"},
                            {"sys/fs/cgroup/system.slice/docker-abc.scope/memory.swap.max", "max\n"},
                            {"sys/fs/cgroup/system.slice/docker-abc.scope/cpu.max", "max 100000\n"}});
  EXPECT_EQ(limits.memory, 1048576u);
  EXPECT_FALSE(limits.memory_swap);
  EXPECT_FALSE(limits.cpu_cores);
  EXPECT_EQ(limits.cpu_by, "cgroup v2 cpu");
  EXPECT_EQ(limits.pids_by, "");
}

TEST_F(Cgroup, AGroupOutsideTheNamespaceIsReadWhereItIsMounted) {
  const auto limits = With({{"proc/self/cgroup", "0::/../../else\n"}, {"sys/fs/cgroup/pids.max", "9\n"}});
  EXPECT_EQ(limits.pids, 9u);
}

TEST_F(Cgroup, NothingCanBeSeen) {
  const auto limits = With({});
  EXPECT_FALSE(limits.memory || limits.memory_swap || limits.cpu_cores || limits.pids);
  EXPECT_EQ(limits.memory_by + limits.cpu_by + limits.pids_by, "");
}

TEST(ReportTest, IsAnObjectAlsoOfAFolderThatIsNotThere) {
  const auto report = json::ParseObject(Report("/no/such/folder"));
  ASSERT_TRUE(report);
  EXPECT_EQ(json::GetInt(*report, "uid"), static_cast<int64_t>(getuid()));
  EXPECT_FALSE(json::Find(*report, "workspace_bytes"));
  EXPECT_TRUE(report->HasMember("workspace_bytes"));
}

TEST_F(Cgroup, ReportTellsWhatHoldsACommandOfTheUser) {
  if (geteuid() != 0) GTEST_SKIP() << "separate uids need root";
  // The user may not be able to enter the folder of the build.
  const std::string binary = root_ + "/agent";
  std::filesystem::copy_file(CSB_AGENT_BINARY, binary);
  testing::AgentUnderTest agent({.binary = true});
  const auto ending = agent.host().Run(
      "exec", R"({"argv":[")" + binary + R"(","--report","--workspace",")" + agent.workspace() + R"("]})");
  EXPECT_EQ(ending.result_int("exit_code"), 0) << ending.err;
  const auto report = json::ParseObject(ending.out);
  ASSERT_TRUE(report) << ending.out;
  EXPECT_EQ(json::GetInt(*report, "uid"), 65534);
  EXPECT_EQ(json::GetInt(*report, "no_new_privs"), 1);
  EXPECT_EQ(json::GetString(*report, "cap_effective"), "0000000000000000");
  EXPECT_TRUE(json::GetString(*report, "cap_bounding"));
  EXPECT_EQ(json::GetString(*report, "cap_init_effective")->size(), 16u);
  uint64_t inside = 0;
  uint64_t outside = 0;
  uint64_t count = 0;
  std::ifstream("/proc/self/uid_map") >> inside >> outside >> count;
  EXPECT_EQ(json::GetString(*report, "uid_map"),
            std::to_string(inside) + " " + std::to_string(outside) + " " + std::to_string(count));
  const json::Value* machine = json::Find(*report, "machine");
  ASSERT_NE(machine, nullptr);
  EXPECT_EQ(json::GetInt(*machine, "processors"), sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_GT(json::GetInt(*machine, "memory").value_or(0), 1 << 20);
  EXPECT_NE(json::GetString(*machine, "kind"), "");
  struct statvfs info {};
  ASSERT_EQ(statvfs(agent.workspace().c_str(), &info), 0);
  EXPECT_EQ(json::GetInt(*report, "workspace_bytes"), static_cast<int64_t>(info.f_blocks * info.f_frsize));
  struct stat root {};
  struct stat workspace {};
  ASSERT_EQ(stat("/", &root) + stat(agent.workspace().c_str(), &workspace), 0);
  EXPECT_EQ(json::GetBool(*report, "workspace_separate"), root.st_dev != workspace.st_dev);
  EXPECT_EQ(json::GetInt(*json::Find(*report, "rlimits"), "core"), 0);
  bool lo = false;
  for (const auto& name : json::Find(*report, "interfaces")->GetArray()) lo = lo || name == "lo";
  EXPECT_TRUE(lo);
  EXPECT_TRUE(json::Find(*report, "unreachable_routes")->IsArray());
  for (const char* name :
       {"memory_limit", "memory_swap_limit", "cpu_cores", "pids_limit", "seccomp", "seccomp_filters"})
    EXPECT_TRUE(report->HasMember(name)) << name;
}

}  // namespace
}  // namespace csb::agent
