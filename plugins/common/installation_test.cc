// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/installation.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <set>
#include <thread>
#include <vector>

#include "plugins/common/json_testing.h"
#include "plugins/common/small_file.h"

namespace csb {
namespace {

using ::testing::HasSubstr;

TEST(Installation, StaysTheSame) {
  const TemporaryFolder folder;
  const auto first = InstallationId(folder / "state"), second = InstallationId(folder / "state");
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(first->size(), 16u);
  EXPECT_NE(*first, *InstallationId(folder / "other"));
}

TEST(Installation, IsTheSameForAllWhoStartAtOnce) {
  for (int round = 0; round < 20; ++round) {
    const TemporaryFolder folder;
    constexpr int kHosts = 8;
    std::barrier start(kHosts);
    std::vector<std::string> ids(kHosts);
    std::vector<std::thread> hosts;
    for (int i = 0; i < kHosts; ++i)
      hosts.emplace_back([&, i] {
        start.arrive_and_wait();
        const auto id = InstallationId(folder.path());
        ids[i] = id ? *id : id.error().message;
      });
    for (std::thread& host : hosts) host.join();
    EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 1u) << ids[0] << " " << ids[1];
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) files += entry.exists();
    EXPECT_EQ(files, 1) << "nothing is left of those who came second";
  }
}

TEST(Installation, ADamagedOneIsNotReplaced) {
  const TemporaryFolder folder;
  for (const char* damaged : {"", "0123456789abcde", "0123456789abcdeg", "0123456789ABCDEF"}) {
    WriteText(folder / "installation", damaged);
    const auto id = InstallationId(folder.path());
    ASSERT_FALSE(id) << "\"" << damaged << "\": everybody's files would be forgotten";
    EXPECT_THAT(id.error().hint, HasSubstr("backup"));
    EXPECT_EQ(*ReadSmallFile(folder / "installation"), damaged);
  }
}

class HostMarkTest : public ::testing::Test {
 protected:
  const TemporaryFolder folder_;
  const std::string hosts_ = folder_ / "state/hosts";
};

TEST_F(HostMarkTest, IsAliveAsLongAsItsObject) {
  std::string id;
  {
    const auto mark = HostMark::Make(hosts_), other = HostMark::Make(hosts_);
    ASSERT_TRUE(mark && other);
    id = mark->id();
    EXPECT_NE(id, other->id());
    EXPECT_TRUE(HostAlive(hosts_, id));
    EXPECT_TRUE(HostAlive(hosts_, other->id()));
    EXPECT_TRUE(HostAlive(hosts_, id)) << "asking must not end it";
  }
  EXPECT_FALSE(HostAlive(hosts_, id));
  EXPECT_FALSE(Exists(hosts_ + "/" + id));
}

TEST_F(HostMarkTest, DiesWithItsProcess) {
  int told[2], kept[2];
  ASSERT_EQ(pipe(told), 0);
  ASSERT_EQ(pipe(kept), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto mark = HostMark::Make(hosts_);
    if (!mark || write(told[1], mark->id().data(), 8) != 8) _exit(1);
    char wait;
    (void)!read(kept[0], &wait, 1);  // until it is killed
    _exit(2);
  }
  char id[9] = "";
  ASSERT_EQ(read(told[0], id, 8), 8);
  EXPECT_TRUE(HostAlive(hosts_, id));
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(Exists(hosts_ + "/" + id)) << "a killed process removes nothing";
  EXPECT_FALSE(HostAlive(hosts_, id));
  EXPECT_FALSE(Exists(hosts_ + "/" + id)) << "its mark goes with the first who asks";
  for (const int fd : {told[0], told[1], kept[0], kept[1]}) close(fd);
}

// The id comes from a label of the engine.
TEST_F(HostMarkTest, AnIdIsNoPath) {
  WriteText(folder_ / "run/precious", "keep");
  WriteText(folder_ / "run/hosts/README", "keep");
  for (const char* bad : {"", "../precious", "README", "..", "0123456", "012345678", "0123456g"})
    EXPECT_FALSE(HostAlive(hosts_, bad)) << bad;
  EXPECT_TRUE(Exists(folder_ / "run/precious"));
  EXPECT_TRUE(Exists(folder_ / "run/hosts/README"));
}

}  // namespace
}  // namespace csb
