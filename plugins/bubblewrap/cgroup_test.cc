// SPDX-License-Identifier: Apache-2.0
//
// Finding groups in made-up views of machines, and real groups where this one has them (launcher_test).
#include "plugins/bubblewrap/cgroup.h"

#include <gmock/gmock.h>

#include "plugins/bubblewrap/testing.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

using ::testing::HasSubstr;

std::string Mount(const std::string& root, const std::string& point, const std::string& type,
                  const std::string& options) {
  return "30 25 0:26 " + root + " " + point + " rw,nosuid shared:4 - " + type + " " + type + " rw," +
         options + "\n";
}

// Folders that look like a hierarchy; writes land in plain files.
class FakeCgroups : public ::testing::Test {
 protected:
  void Make(const std::string& folder, const std::map<std::string, std::string>& files) {
    ASSERT_TRUE(MakeFolders(folder_ / folder, 0755));
    for (const auto& [name, text] : files) ASSERT_TRUE(ReplaceSmallFile(folder_ / folder + "/" + name, text));
  }
  std::string Text(const std::string& file) {
    const auto text = ReadSmallFile(folder_ / file);
    return text ? *text : "";
  }
  TemporaryFolder folder_;
};

TEST(CgroupView, FindsTheOwnGroupOfEachHierarchy) {
  const CgroupView view{"9:name=systemd:/\n4:memory:/service/one\n1:cpu,cpuacct:/\n0::/user.slice\n",
                        Mount("/", "/sys/fs/cgroup/cpu\\040acct", "cgroup", "cpu,cpuacct") +
                            Mount("/service", "/sys/fs/cgroup/memory", "cgroup", "memory") +
                            Mount("/", "/sys/fs/cgroup/unified", "cgroup2", "nsdelegate")};
  const auto found = ParseHierarchies(view);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].folder, "/sys/fs/cgroup/memory/one");
  EXPECT_EQ(found[1].folder, "/sys/fs/cgroup/cpu acct");
  EXPECT_EQ(found[2].folder, "/sys/fs/cgroup/unified/user.slice");
  EXPECT_EQ(found[2].top, "/sys/fs/cgroup/unified");
}

TEST(CgroupView, NothingMountedIsSaid) {
  const CgroupParent parent = FindCgroupParent({"0::/\n", ""});
  EXPECT_FALSE(parent.memory);
  EXPECT_THAT(parent.missing, HasSubstr("memory cpu pids"));
}

TEST_F(FakeCgroups, Version2NestsInTheOwnGroup) {
  const std::map<std::string, std::string> files = {{"cgroup.controllers", "cpuset cpu io memory pids\n"},
                                                    {"cgroup.subtree_control", "cpu memory pids\n"}};
  Make("u/service", files);
  Make("u/service/clara-sandbox", files);
  const CgroupParent parent =
      FindCgroupParent({"0::/service\n", Mount("/", folder_ / "u", "cgroup2", "nsdelegate")});
  EXPECT_EQ(parent.missing, "");
  EXPECT_EQ(parent.memory.path, folder_ / "u/service/clara-sandbox");
  EXPECT_EQ(parent.cpu.version, 2);
  EXPECT_EQ(Text("u/service/clara-sandbox/cgroup.subtree_control"), "+memory +cpu +pids");
}

TEST_F(FakeCgroups, Version2FallsBackToTheVisibleTop) {
  Make("u/session", {{"cgroup.controllers", "\n"}});
  const std::map<std::string, std::string> files = {{"cgroup.controllers", "cpu memory pids\n"},
                                                    {"cgroup.subtree_control", "cpu memory pids\n"}};
  Make("u", files);
  Make("u/clara-sandbox", files);
  const CgroupParent parent =
      FindCgroupParent({"0::/session\n", Mount("/", folder_ / "u", "cgroup2", "nsdelegate")});
  EXPECT_EQ(parent.memory.path, folder_ / "u/clara-sandbox");
}

TEST_F(FakeCgroups, Version2WritesAndReadsItsLimits) {
  CgroupParent parent;
  parent.memory = parent.cpu = parent.cpuacct = parent.pids = {folder_ / "g", 2};
  // The kernel makes these files with the folder; a plain file system does not, so they come first.
  ASSERT_TRUE(MakeFolders(folder_ / "g", 0755));
  auto made = Cgroup::Make(parent, "one");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->ProcsFiles(), std::vector<std::string>{folder_ / "g/one/cgroup.procs"});
  Make("g/one", {{"memory.max", "536870912\n"},
                 {"memory.swap.max", "0\n"},
                 {"cpu.max", "150000 100000\n"},
                 {"pids.max", "112\n"},
                 {"memory.current", "4096\n"},
                 {"cpu.stat", "usage_usec 17\nuser_usec 3\n"},
                 {"memory.events", "low 0\noom 3\noom_kill 2\n"}});
  const Cgroup::Reading reading = made->Read();
  EXPECT_EQ(reading.memory_limit, uint64_t{512} << 20);
  EXPECT_TRUE(reading.swap_excluded);
  EXPECT_EQ(reading.cpu_limit, 1.5);
  EXPECT_EQ(reading.pids_limit, 112u);
  EXPECT_EQ(made->CpuTimeNs(), 17'000u);
  EXPECT_EQ(ParseKeyed(*ReadSmallFile(made->OomFile()), "oom_kill"), 2u);
}

TEST_F(FakeCgroups, UnlimitedIsNotALimit) {
  Make("g/one", {{"memory.max", "max\n"}, {"cpu.max", "max 100000\n"}, {"pids.max", "max\n"}});
  const auto doc = json::ParseObject(
      R"({"memory":{"path":")" + folder_ / "g/one" + R"(","version":2},"cpu":{"path":")" + folder_ / "g/one" +
      R"(","version":2},"pids":{"path":")" + folder_ / "g/one" + R"(","version":2}})");
  ASSERT_TRUE(doc);
  const Cgroup::Reading reading = Cgroup::From(*doc).Read();
  EXPECT_EQ(reading.memory_limit, std::nullopt);
  EXPECT_EQ(reading.cpu_limit, std::nullopt);
  EXPECT_EQ(reading.pids_limit, std::nullopt);
}

TEST(SmallFile, NumbersOfTheKernel) {
  EXPECT_EQ(ParseCount("12\n"), 12u);
  EXPECT_EQ(ParseCount("max\n"), UINT64_MAX);
  EXPECT_EQ(ParseCount("-1\n"), std::nullopt);
  EXPECT_EQ(ParseCount(""), std::nullopt);
  EXPECT_EQ(ParseKeyed("under_oom 0\noom_kill 4\n", "oom_kill"), 4u);
  EXPECT_EQ(ParseKeyed("oom_kill_disable 1\n", "oom_kill"), std::nullopt);
  EXPECT_EQ(StatusField("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n", "Seccomp"), "2");
}

}  // namespace
}  // namespace csb::bwrap
