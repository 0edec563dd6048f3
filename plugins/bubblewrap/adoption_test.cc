// SPDX-License-Identifier: Apache-2.0
//
// Sandboxes outlive hosts: found again, shared, and cleaned up whatever moment a host is killed at.
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <thread>

#include "plugins/bubblewrap/backend_fixture.h"

namespace csb::bwrap {
namespace {

using ::testing::HasSubstr;

class AdoptionTest : public BackendTest {
 protected:
  // Runs `work` in a host process of its own, which is killed after `delay` or kills itself.
  void InKilledHost(const std::function<void()>& work, std::chrono::microseconds delay) {
    const pid_t child = fork();
    if (child == 0) {
      Start();
      work();
      raise(SIGKILL);
    }
    if (delay.count() > 0) {
      std::this_thread::sleep_for(delay);
      kill(child, SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  }
  int HostSockets(const std::string& user) {
    int sockets = 0;
    for (const auto& entry : std::filesystem::directory_iterator(PathsOf(user).control()))
      sockets += entry.path().extension() == ".sock";
    return sockets;
  }
  template <typename F>
  static bool WaitFor(F ready) {
    for (int i = 0; i < 500 && !ready(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return ready();
  }
};

TEST_F(AdoptionTest, ANewHostFindsTheSandboxOfAnEarlierOne) {
  Start();
  Create();
  Shell("echo kept > /tmp/note");
  const pid_t init = Live().init.pid;
  Stop();
  Start();
  const Answer answer = Shell("cat /tmp/note");
  EXPECT_EQ(answer.code, CSB_OK) << answer.message;
  EXPECT_EQ(answer.out, "kept\n");
  EXPECT_EQ(Live().init.pid, init);
  EXPECT_THAT(Call(CSB_OP_STATUS).result, HasSubstr(R"("status":"running")"));
}

TEST_F(AdoptionTest, WhatIsPostedForALostSandboxNeedsNothingOnceItsHostEnds) {
  Start();
  Create();
  host_->HoldWork();
  kill(Live().init.pid, SIGKILL);
  EXPECT_TRUE(host_->HoldsWork());
  Stop();
  Start();  // for what is cleaned up after a test
}

TEST_F(AdoptionTest, TwoHostsReachOneSandbox) {
  Start();
  Create();
  Shell("echo shared > /tmp/note");
  FakeHost other_host(Config(), 2);
  Harness other(other_host);
  Recorder read(Harness::table(), other.self(),
                {.op = CSB_OP_SHELL, .user = "alice", .payload = R"({"command":"cat /tmp/note"})"});
  ASSERT_TRUE(read.Wait());
  EXPECT_EQ(read.output(CSB_STREAM_STDOUT), "shared\n") << read.message();
  // What one stops has ended for the other.
  EXPECT_THAT(Call(CSB_OP_STOP).result, HasSubstr("stopped"));
  Recorder after(Harness::table(), other.self(), {.op = CSB_OP_STATUS, .user = "alice"});
  ASSERT_TRUE(after.Wait());
  EXPECT_THAT(after.result(), HasSubstr("stopped"));
}

// An idle host must not end what another one runs.
TEST_F(AdoptionTest, AHostLetsGoOfAnIdleSandboxThatAnotherUses) {
  Start();
  Create();
  const pid_t init = Live().init.pid;
  {
    FakeHost other_host(Config(), 2);
    Harness other(other_host);
    Recorder runs(
        Harness::table(), other.self(),
        {.op = CSB_OP_SHELL, .user = "alice", .payload = R"({"command":"sleep 1; echo survived"})"});
    ASSERT_TRUE(WaitFor([&] { return HostSockets("alice") == 2; }));
    EXPECT_THAT(Call(CSB_OP_STOP, R"({"if_unused":true})").result, HasSubstr("in_use"));
    EXPECT_EQ(HostSockets("alice"), 1);
    ASSERT_TRUE(runs.Wait());
    EXPECT_EQ(runs.output(CSB_STREAM_STDOUT), "survived\n") << runs.message();
    // Whoever let go comes back with the next call.
    EXPECT_EQ(Shell("true").code, CSB_OK);
    EXPECT_EQ(Live().init.pid, init);
  }
  EXPECT_THAT(Call(CSB_OP_STOP, R"({"if_unused":true})").result, HasSubstr("stopped"));
}

// Every host lists the sandboxes when it starts.
TEST_F(AdoptionTest, AHostThatOnlyListedASandboxDoesNotUseIt) {
  Start();
  Create();
  FakeHost other_host(Config(), 2);
  Harness other(other_host);
  Recorder list(Harness::table(), other.self(), {.op = CSB_OP_LIST});
  ASSERT_TRUE(list.Wait());
  EXPECT_THAT(list.result(), HasSubstr(R"("status":"running")"));
  EXPECT_THAT(list.result(), HasSubstr(R"("memory":{"enforced":)"));
  EXPECT_EQ(HostSockets("alice"), 1);
  EXPECT_THAT(Call(CSB_OP_STOP, R"({"if_unused":true})").result, HasSubstr("stopped"));
}

TEST_F(AdoptionTest, ASandboxOfAKilledHostLivesOn) {
  InKilledHost(
      [&] {
        Create();
        Shell("echo kept > /tmp/note");
      },
      {});
  Start();
  users_.insert("alice");
  EXPECT_EQ(Shell("cat /tmp/note").out, "kept\n");
}

TEST_F(AdoptionTest, AHostKilledWhileItCreatesLeavesNothingThatTheNextCantMend) {
  for (int round = 0; round < 12; ++round) {
    InKilledHost([&] { Create(); }, std::chrono::microseconds(3'000 + 9'000 * round));
    Start();
    Create();
    EXPECT_EQ(Shell("echo fine").out, "fine\n") << round;
    const LiveRecord live = Live();
    Call(CSB_OP_DESTROY, R"({"purge":true})");
    ExpectNothingLeft(live);
    Stop();
  }
}

// The moment that the test above meets only by chance: killed between making a record and naming it.
TEST_F(AdoptionTest, WhatAKilledHostHadHalfWrittenIsRemoved) {
  Start();
  Create();
  Call(CSB_OP_DESTROY, R"({"purge":true})");
  const Paths paths = PathsOf("alice");
  ASSERT_TRUE(MakeFolders(paths.runtime, 0711));
  ASSERT_TRUE(MakeFolders(paths.data, 0711));
  for (const std::string& half : {paths.live(), paths.record(), paths.image()})
    ASSERT_TRUE(ReplaceSmallFile(half + ".aB3xYz", "{"));
  Create();
  EXPECT_FALSE(Exists(paths.record() + ".aB3xYz"));
  EXPECT_FALSE(Exists(paths.image() + ".aB3xYz"));
  const LiveRecord live = Live();
  Call(CSB_OP_DESTROY);
  ExpectNothingLeft(live);
}

TEST_F(AdoptionTest, ASandboxWithoutAnyHostEndsItselfAndIsSweptUp) {
  Start({{"bubblewrap.timeout", "1"}});
  Create();
  const LiveRecord live = Live();
  const Pidfd init = OpenSame(live.init), monitor = OpenSame(live.monitor);
  ASSERT_TRUE(init);
  Stop();
  EXPECT_TRUE(WaitEnd(init, std::chrono::seconds(10)));
  EXPECT_TRUE(WaitEnd(monitor, std::chrono::seconds(5)));
  Start();
  EXPECT_EQ(Shell("true").code, CSB_E_NO_SANDBOX);
  ExpectNothingLeft(live);
}

TEST_F(AdoptionTest, ADamagedRecordIsReplaced) {
  Start();
  Create();
  const LiveRecord live = Live();
  Call(CSB_OP_STOP);
  ASSERT_TRUE(MakeFolders(PathsOf("alice").runtime, 0711));
  ASSERT_TRUE(ReplaceSmallFile(PathsOf("alice").live(), "{\"user\":"));
  Create();
  EXPECT_EQ(Shell("echo fine").out, "fine\n");
}

}  // namespace
}  // namespace csb::bwrap
