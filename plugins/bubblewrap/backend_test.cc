// SPDX-License-Identifier: Apache-2.0
//
// What users of one host see: commands, limits, files, the end of sandboxes.
#include <thread>

#include "plugins/bubblewrap/backend_fixture.h"

namespace csb::bwrap {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(BackendTest, ACommandRunsInAFreshSandbox) {
  Start();
  EXPECT_EQ(Shell("id").code, CSB_E_NO_SANDBOX);
  Create();
  const Answer answer = Shell("id -u; pwd; cat /proc/1/comm");
  EXPECT_EQ(answer.code, CSB_OK) << answer.message;
  EXPECT_THAT(answer.out, HasSubstr("1000\n/workspace\n"));
  EXPECT_EQ(answer.err, "");
}

TEST_F(BackendTest, ProbeSaysItCan) {
  Start();
  const Answer probe = Call(CSB_OP_PROBE, "{}", "");
  ASSERT_EQ(probe.code, CSB_OK);
  EXPECT_THAT(probe.result, HasSubstr(R"("available":true)")) << probe.result;
  EXPECT_THAT(probe.result, HasSubstr("bubblewrap 0"));
}

TEST_F(BackendTest, EveryLimitIsReadBackFromTheKernel) {
  CSB_NEED_ROOT();
  Start();
  Create();
  const Answer status = Call(CSB_OP_STATUS);
  ASSERT_EQ(status.code, CSB_OK) << status.message;
  const auto info = json::ParseObject(status.result);
  ASSERT_TRUE(info);
  EXPECT_EQ(json::GetString(*info, "status"), "running");
  const json::Value* enforced = json::Find(*info, "enforced");
  ASSERT_NE(enforced, nullptr);
  for (const char* name : {"memory", "cpu", "pids", "disk", "network", "seccomp", "userns", "no_new_privs"}) {
    const json::Value* one = json::Find(*enforced, name);
    ASSERT_NE(one, nullptr) << name;
    EXPECT_EQ(json::GetBool(*one, "enforced"), true) << name << ": " << json::ToString(*one);
  }
  EXPECT_THAT(status.result, HasSubstr("128 MiB"));
}

TEST_F(BackendTest, TooMuchMemoryIsATypedCauseAndTheNextCallWorks) {
  CSB_NEED_ROOT();
  Start();
  Create();
  const Answer answer = Shell("/usr/bin/python3 -c 'bytearray(400 << 20)'");
  ASSERT_EQ(answer.code, CSB_OK) << answer.message;
  EXPECT_EQ(Text(answer.result, "cause"), "oom");
  EXPECT_EQ(Number(answer.result, "exit_code"), 137);
  EXPECT_THAT(Text(answer.result, "message"), HasSubstr("OOM killed"));
  EXPECT_THAT(Text(answer.result, "hint"), HasSubstr("BUBBLEWRAP_SANDBOX_MEMORY"));
  EXPECT_EQ(Shell("echo again").out, "again\n");
  // A kill that memory has nothing to do with stays a signal.
  EXPECT_NE(Text(Shell("kill -9 $$").result, "cause"), "oom");
}

TEST_F(BackendTest, AForkBombLeavesTheNextCallWorking) {
  Start();
  Create();
  const Answer bomb = Shell("for i in $(seq 100); do sleep 30 & done; echo started");
  EXPECT_THAT(bomb.err, HasSubstr("fork"));
  EXPECT_EQ(Shell("echo again").out, "again\n");
}

TEST_F(BackendTest, AFullWorkspaceCanBeEmptied) {
  CSB_NEED_ROOT();
  Start();
  Create();
  EXPECT_THAT(Shell("head -c 64M /dev/zero > big").err, HasSubstr("No space left"));
  EXPECT_EQ(Shell("rm big; echo room > note; cat note").out, "room\n");
}

TEST_F(BackendTest, ManyInodesEndInAnError) {
  CSB_NEED_ROOT();
  Start();
  Create();
  EXPECT_THAT(Shell("mkdir d; cd d; for i in $(seq 5000); do : > $i || exit 1; done").err,
              HasSubstr("No space left"));
  EXPECT_EQ(Shell("rm -r d; echo fine").out, "fine\n");
}

TEST_F(BackendTest, CreateIsIdempotentAndRefusesOtherLimits) {
  Start();
  Create();
  const pid_t init = Live().init.pid;
  Create();
  EXPECT_EQ(Live().init.pid, init);
  Create("alice", R"({"memory_limit":"128m"})");
  const Answer other = Call(CSB_OP_CREATE, R"({"memory_limit":"256m"})");
  EXPECT_EQ(other.code, CSB_E_CONFLICT);
  EXPECT_THAT(other.message, HasSubstr("memory_limit"));
  const Answer more = Call(CSB_OP_CREATE, R"({"cpu_limit":2.5})");
  EXPECT_EQ(more.code, CSB_E_CONFLICT);
  EXPECT_THAT(more.message, HasSubstr("has 1 cores"));
  EXPECT_EQ(Call(CSB_OP_CREATE, R"({"cpu_limit":-1})").code, CSB_E_INVALID);
}

TEST_F(BackendTest, FilesOutliveStopRestartAndDestroyButNotPurge) {
  Start();
  EXPECT_EQ(Call(CSB_OP_STATUS).code, CSB_E_NOT_FOUND);
  EXPECT_THAT(Call(CSB_OP_STOP).result, HasSubstr("not_found"));
  EXPECT_THAT(Call(CSB_OP_DESTROY).result, HasSubstr("not_found"));
  Create();
  Shell("echo kept > note");
  const LiveRecord first = Live();
  EXPECT_THAT(Call(CSB_OP_STOP).result, HasSubstr("stopped"));
  ExpectNothingLeft(first);
  EXPECT_THAT(Call(CSB_OP_STATUS).result, HasSubstr(R"("status":"stopped")"));
  EXPECT_EQ(Shell("cat note").code, CSB_E_NO_SANDBOX);
  EXPECT_EQ(Call(CSB_OP_RESTART).code, CSB_OK);
  EXPECT_EQ(Shell("cat note").out, "kept\n");
  const LiveRecord second = Live();
  EXPECT_EQ(second.uids, first.uids);
  EXPECT_EQ(Call(CSB_OP_RESTART).code, CSB_OK);
  EXPECT_NE(Live().init.pid, second.init.pid);
  EXPECT_THAT(Call(CSB_OP_DESTROY).result, HasSubstr(R"("files_preserved":true)"));
  Create();
  EXPECT_EQ(Shell("cat note").out, "kept\n");
  EXPECT_THAT(Call(CSB_OP_DESTROY, R"({"purge":true})").result, HasSubstr(R"("files_preserved":false)"));
  EXPECT_FALSE(Exists(PathsOf("alice").data));
  EXPECT_EQ(Call(CSB_OP_STATUS).code, CSB_E_NOT_FOUND);
  Create();
  EXPECT_THAT(Shell("cat note").err, HasSubstr("No such file"));
}

TEST_F(BackendTest, UsersShareNothing) {
  CSB_NEED_ROOT();
  Start();
  Create("a.b");
  Create("a-b");
  EXPECT_NE(Live("a.b").uids, Live("a-b").uids);
  Shell("echo mine > secret; chmod 644 secret", "a.b");
  EXPECT_THAT(Shell("cat secret", "a-b").err, HasSubstr("No such file"));
  // The agent, its supervisors and the command itself; nobody else's.
  EXPECT_EQ(Shell("test $(ls -d /proc/[0-9]* | wc -l) -lt 10 && echo few", "a-b").out, "few\n");
  const Answer list = Call(CSB_OP_LIST, "{}", "");
  EXPECT_THAT(list.result, ::testing::AllOf(HasSubstr("\"a.b\""), HasSubstr("\"a-b\"")));
}

TEST_F(BackendTest, AKilledSandboxEndsItsOperationsAndIsMadeAnew) {
  Start();
  Create();
  Shell("echo kept > note");
  const LiveRecord live = Live();
  Request request{.op = CSB_OP_SHELL, .user = "alice", .payload = R"({"command":"echo on; sleep 60"})"};
  Recorder running(Harness::table(), backend_->self(), request);
  ASSERT_TRUE(running.WaitOutput(CSB_STREAM_STDOUT, "on"));
  kill(live.init.pid, SIGKILL);
  ASSERT_TRUE(running.Wait(std::chrono::seconds(5)));
  EXPECT_EQ(running.code(), CSB_E_GONE) << running.message();
  EXPECT_THAT(Shell("true").code, AnyOf(CSB_E_NO_SANDBOX, CSB_E_GONE));
  Create();
  const Answer after = Shell("cat note");
  EXPECT_EQ(after.out, "kept\n") << after.message << after.result << after.err;
  EXPECT_FALSE(OpenSame(live.monitor));
}

TEST_F(BackendTest, ManyAreMadeAtOnce) {
  Start();
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 16; ++t) {
    users_.insert("many-" + std::to_string(t));
    threads.emplace_back([&, t] {
      const std::string user = "many-" + std::to_string(t);
      Recorder made(Harness::table(), backend_->self(), {.op = CSB_OP_CREATE, .user = user});
      if (!made.Wait() || made.code() != CSB_OK) return ADD_FAILURE() << made.message(), void();
      Recorder shell(Harness::table(), backend_->self(),
                     {.op = CSB_OP_SHELL, .user = user, .payload = R"({"command":"id -u"})"});
      if (shell.Wait() && shell.output(CSB_STREAM_STDOUT) == "1000\n") ++good;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 16);
}

TEST_F(BackendTest, AWrongConfigurationIsNamed) {
  for (const auto& [key, value] : FakeHost::Options{
           {"bubblewrap.network", "bridge"}, {"bubblewrap.uids", "0:10"}, {"sandbox.data_dir", "relative"}}) {
    if (key == "bubblewrap.uids" && geteuid() != 0) continue;
    FakeHost host(Config({{key, value}}));
    Harness backend(host);
    EXPECT_EQ(backend.code(), CSB_E_INVALID) << key;
    EXPECT_THAT(backend.error().message, HasSubstr(value));
  }
}

TEST_F(BackendTest, ProbeNamesWhatIsMissing) {
  Start({{"bubblewrap.bwrap", "/nonexistent/bwrap"}});
  const Answer probe = Call(CSB_OP_PROBE, "{}", "");
  EXPECT_THAT(probe.result, HasSubstr(R"("available":false)"));
  EXPECT_THAT(probe.result, HasSubstr("apt-get install bubblewrap"));
}

TEST_F(BackendTest, AFailedCreateLeavesNothing) {
  Start({{"bubblewrap.agent", "/usr/bin/false"}});
  const Answer made = Call(CSB_OP_CREATE);
  EXPECT_EQ(made.code, CSB_E_UNAVAILABLE) << made.message;
  EXPECT_FALSE(Exists(PathsOf("alice").data));
  EXPECT_FALSE(Exists(PathsOf("alice").runtime));
  Stop();  // what the sandbox's end set going in the background is over
  EXPECT_FALSE(Exists(PathsOf("alice").lock));
}

TEST_F(BackendTest, RefusedRequestsForUsersWithoutSandboxLeaveNoLock) {
  Start();
  EXPECT_EQ(Call(CSB_OP_CREATE, R"({"memory_limit":"1k"})").code, CSB_E_INVALID);
  EXPECT_EQ(Call(CSB_OP_RESTART).code, CSB_E_NOT_FOUND);
  EXPECT_FALSE(Exists(PathsOf("alice").lock));
  Create();
  EXPECT_TRUE(Exists(PathsOf("alice").lock));
  Call(CSB_OP_DESTROY, R"({"purge":true})");
  Stop();
  EXPECT_FALSE(Exists(PathsOf("alice").lock));
}

}  // namespace
}  // namespace csb::bwrap
