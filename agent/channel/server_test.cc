// SPDX-License-Identifier: Apache-2.0
//
// What a host sees of an agent: operations, streams, credits, ends. Run as root with commands under uid
// 65534, and again with one uid.
#include "agent/channel/server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "agent/testing/agent_under_test.h"
#include "clara_sandbox/operation.h"

namespace csb::agent::testing {
namespace {

using protocol::Kind;
using ::testing::HasSubstr;
using ::testing::Not;

class Agent : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && geteuid() != 0) GTEST_SKIP() << "separate uids need root";
    agent_.emplace(AgentOptions{.separate = GetParam()});
  }
  HostEnd& host() { return agent_->host(); }
  Ending Shell(const std::string& command, uint64_t timeout_ms = 0) {
    return host().Run(Request{.op = "shell", .args = Args("command", command), .timeout_ms = timeout_ms});
  }
  static std::string Args(const std::string& name, const std::string& value) {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, name, value);
    w.EndObject();
    return buffer.GetString();
  }
  std::optional<AgentUnderTest> agent_;
};

INSTANTIATE_TEST_SUITE_P(Uids, Agent, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Separate" : "One"; });

TEST_P(Agent, SaysHello) {
  EXPECT_EQ(json::GetInt(host().hello(), "proto"), 1);
  EXPECT_EQ(json::GetBool(host().hello(), "separate_uids"), GetParam());
  EXPECT_EQ(json::GetString(host().hello(), "boot_id")->size(), 32u);
}

TEST_P(Agent, RunsAShellCommand) {
  const Ending ending = Shell("echo out; echo err >&2; exit 3");
  EXPECT_EQ(ending.code(), 0);
  EXPECT_EQ(ending.out, "out\n");
  EXPECT_EQ(ending.err, "err\n");
  EXPECT_EQ(ending.result_int("exit_code"), 3);
  EXPECT_EQ(ending.result_text("cause"), "exit");
  EXPECT_EQ(ending.result_int("stdout_bytes"), 4);
}

TEST_P(Agent, RunsInTheWorkspaceWithItsOwnEnvironment) {
  const Ending ending = Shell("pwd; echo $HOME; echo $PYTHONUSERBASE; env | grep -c ^PATH=");
  EXPECT_EQ(ending.out,
            agent_->workspace() + "\n" + agent_->workspace() + "\n" + agent_->workspace() + "/.local\n1\n");
  const Ending more = host().Run("shell", R"({"command":"echo $A-$USER; pwd","env":{"A":"b c"},"cwd":"/"})");
  EXPECT_EQ(more.out, "b c-sandbox\n/\n");
}

TEST_P(Agent, CommandsHoldNothingOfTheAgent) {
  const Ending ending = Shell(
      "ls /proc/self/fd | tr '\\n' ' '; grep -E 'CapEff|CapBnd|NoNewPrivs|Sig(Blk|Ign)|Groups' "
      "/proc/self/status; "
      "ulimit -c; umask; cat /proc/self/oom_score_adj");
  EXPECT_THAT(ending.out, HasSubstr("0 1 2 3 "));  // 3 is ls's own
  EXPECT_THAT(ending.out, Not(HasSubstr("4")));
  EXPECT_THAT(ending.out, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(ending.out, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(ending.out, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(ending.out, HasSubstr("SigBlk:\t0000000000000000"));
  EXPECT_THAT(ending.out, HasSubstr("SigIgn:\t0000000000000000"));
  EXPECT_THAT(ending.out, HasSubstr("\n0\n0022\n500\n"));
}

TEST_P(Agent, CommandsCanOpenTheirOutputAgain) {
  const Ending ending = Shell("echo a > /dev/stdout; echo b > /dev/stderr");
  EXPECT_EQ(ending.out, "a\n");
  EXPECT_EQ(ending.err, "b\n");
}

TEST_P(Agent, CommandsCannotReachTheAgent) {
  if (!GetParam()) GTEST_SKIP() << "one uid can signal itself";
  const Ending ending =
      Shell("kill -9 $PPID; kill -STOP $PPID; cat /proc/$PPID/environ; ls /proc/$PPID/fd; echo on");
  EXPECT_EQ(ending.out, "on\n");
  EXPECT_EQ(ending.result_text("cause"), "exit");
}

TEST_P(Agent, ExecTakesAnArgumentVector) {
  EXPECT_EQ(host().Run("exec", R"({"argv":["printf","%s|","a b","$HOME","*"]})").out, "a b|$HOME|*|");
  const Ending missing = host().Run("exec", R"({"argv":["no-such-program"]})");
  EXPECT_EQ(missing.result_int("exit_code"), 127);
  EXPECT_EQ(missing.result_text("message"), "command not found: no-such-program");
  const Ending data = host().Run("exec", R"({"argv":["/etc/passwd"]})");
  EXPECT_EQ(data.result_int("exit_code"), 126);
  EXPECT_THAT(data.result_text("message"), HasSubstr("/etc/passwd: Permission denied"));
}

TEST_P(Agent, ExecutesPython) {
  const Ending ending = host().Run(
      "execute",
      R"({"code":"import sys\nprint(sys.argv[1:])\nopen('f','w').write('x')\n1/0","args":["a","b"]})");
  EXPECT_EQ(ending.out, "['a', 'b']\n");
  EXPECT_EQ(ending.result_int("exit_code"), 1);
  EXPECT_THAT(ending.err, HasSubstr("line 4, in <module>\n    1/0"));
  EXPECT_TRUE(std::ifstream(agent_->workspace() + "/f"));
}

TEST_P(Agent, PythonFindsModulesOfTheWorkspaceAlsoOneCalledMain) {
  std::ofstream(agent_->workspace() + "/main.py") << "value = 42\n";
  EXPECT_EQ(host().Run("execute", Args("code", "import main; print(main.value)")).out, "42\n");
}

TEST_P(Agent, NothingOfTheCodeStaysBehind) {
  const Ending ending = host().Run("execute", Args("code", "print(__file__, end='')"));
  ASSERT_THAT(ending.out, HasSubstr("/tmp/clara-"));
  EXPECT_NE(access(ending.out.substr(0, ending.out.rfind('/')).c_str(), F_OK), 0);
  const Ending killed = host().Run(
      Request{.op = "execute",
              .args = Args("code", "import time; print(__file__, end='', flush=True); time.sleep(99)"),
              .timeout_ms = 500});
  ASSERT_THAT(killed.out, HasSubstr("/tmp/clara-"));
  EXPECT_NE(access(killed.out.substr(0, killed.out.rfind('/')).c_str(), F_OK), 0);
}

TEST_P(Agent, LargeCodeAndLongestCommandRun) {
  const std::string code = "x = '''" + std::string(4 << 20, 'y') + "'''\nprint(len(x))";
  EXPECT_EQ(host().Run("execute", Args("code", code)).out, "4194304\n");
  std::string command = "echo ok #";
  command.resize(128 << 10, '-');
  EXPECT_EQ(Shell(command).out, "ok\n");
}

TEST_P(Agent, StreamsOutputAsItComes) {
  const uint32_t stream = host().Open(
      {.op = "execute", .args = Args("code", "print('live', flush=True)\nimport time\ntime.sleep(30)")});
  std::string seen;
  while (seen != "live\n") {
    const auto frame = host().Next();
    ASSERT_TRUE(frame);
    if (frame->kind == Kind::kOutput) seen += frame->payload;
  }
  host().Send(Kind::kCancel, 0, stream, R"({"cause":"cancelled"})");
  const Ending ending = host().Wait(stream);
  EXPECT_EQ(ending.result_text("cause"), "cancelled");
  EXPECT_EQ(ending.result_int("exit_code"), 130);
}

TEST_P(Agent, PassesStdin) {
  const std::string text(3'000'000, 'z');
  Ending ending = host().Run(Request{.op = "shell", .args = Args("command", "wc -c"), .input = text});
  EXPECT_EQ(ending.out, "3000000\n");
  EXPECT_EQ(Shell("wc -c").out, "0\n");
  // A command that does not read its input ends all the same.
  ending =
      host().Run(Request{.op = "shell", .args = Args("command", "exec <&-; echo closed"), .input = text});
  EXPECT_EQ(ending.out, "closed\n");
}

TEST_P(Agent, DeadlineIsTypedAndKeepsPartialOutput) {
  const Ending ending = Shell("echo before; sleep 100; echo after", 300);
  EXPECT_EQ(ending.code(), 0);
  EXPECT_EQ(ending.out, "before\n");
  EXPECT_EQ(ending.result_text("cause"), "deadline");
  EXPECT_EQ(ending.result_int("exit_code"), 124);
  EXPECT_EQ(ending.result_text("message"), "Execution timed out after 0.3 s");
  EXPECT_THAT(ending.result_text("hint"), HasSubstr("timeout"));
}

TEST_P(Agent, SignalsAreTyped) {
  const Ending ending = Shell("kill -SEGV $$");
  EXPECT_EQ(ending.result_text("cause"), "signal");
  EXPECT_EQ(ending.result_int("signal"), SIGSEGV);
  EXPECT_EQ(ending.result_int("exit_code"), 128 + SIGSEGV);
  EXPECT_THAT(ending.result_text("message"), HasSubstr("signal 11"));
}

TEST_P(Agent, BackgroundProcessesEndWithTheirCommandAndDoNotHoldItsOutput) {
  const Ending ending = Shell("sleep 12345.25 & setsid sleep 12345.25 & echo started");
  EXPECT_EQ(ending.out, "started\n");
  EXPECT_EQ(ending.result_int("exit_code"), 0);
  EXPECT_LT(ending.seconds_ns, 5 * kSecond);
  EXPECT_TRUE(ProcessesWith("12345.25").empty());
}

TEST_P(Agent, OutputWaitsForCredit) {
  const uint32_t stream =
      host().Open({.op = "shell", .args = Args("command", "head -c 1000000 /dev/zero"), .credit = 1000});
  size_t got = 0;
  while (auto frame = host().Next(300))
    if (frame->kind == Kind::kOutput) got += frame->payload.size();
  EXPECT_EQ(got, 1000u);
  host().SendU64(Kind::kCredit, stream, 500);
  while (auto frame = host().Next(300)) {
    ASSERT_EQ(frame->kind, Kind::kOutput);
    got += frame->payload.size();
  }
  EXPECT_EQ(got, 1500u);
  host().SendU64(Kind::kCredit, stream, UINT64_MAX);
  const Ending ending = host().Wait(stream);
  EXPECT_EQ(got + ending.out.size(), 1000000u);
  EXPECT_EQ(ending.result_int("stdout_bytes"), 1000000);
}

TEST_P(Agent, DeadlineDoesNotWaitForCredit) {
  const Ending ending = host().Run(Request{.op = "shell",
                                           .args = Args("command", "yes | head -c 10000; sleep 99"),
                                           .timeout_ms = 300,
                                           .credit = 100});
  EXPECT_EQ(ending.out.size(), 100u);
  EXPECT_EQ(ending.result_text("cause"), "deadline");
  EXPECT_EQ(ending.result_int("stdout_bytes"), 10000);
  EXPECT_EQ(ending.result_int("stdout_dropped"), 9900);
}

// The end of an output costs no credit: neither none at all nor what was all used up holds it back.
TEST_P(Agent, EndDoesNotWaitForCredit) {
  for (const auto& [command, credit] : {std::pair{"exit 3", 0}, std::pair{"printf 12345; exit 3", 5}}) {
    const uint32_t stream = host().Open({.op = "shell",
                                         .args = Args("command", command),
                                         .timeout_ms = 10'000,
                                         .credit = static_cast<uint64_t>(credit)});
    const Ending ending = host().Wait(stream);
    EXPECT_EQ(ending.out.size(), static_cast<size_t>(credit));
    EXPECT_EQ(ending.result_text("cause"), "exit") << command;
    EXPECT_EQ(ending.result_int("exit_code"), 3) << command;
    EXPECT_EQ(ending.result_int("stdout_dropped"), 0) << command;
  }
  ASSERT_EQ(host().Run(Request{.op = "file_write", .args = R"({"path":"empty"})", .input = ""}).code(), 0);
  const Ending read = host().Run(
      Request{.op = "file_read", .args = R"({"path":"empty"})", .timeout_ms = 10'000, .credit = 0});
  EXPECT_EQ(read.code(), 0) << read.message();
}

// As the kernel does when memory runs out: the task ends without a word.
TEST_P(Agent, AFileTaskThatIsKilledBeforeItsFirstWordEnds) {
  const uint32_t stream = host().Open({.op = "file_read", .args = R"({"path":"none"})"});
  host().Send(Kind::kCancel, 0, stream, R"({"cause":"cancelled"})");
  const Ending ending = host().Wait(stream);
  EXPECT_TRUE(ending.code() == CSB_E_CANCELLED || ending.code() == CSB_E_NOT_FOUND) << ending.message();
}

TEST_P(Agent, PipListsAllThatCodeCanImport) {
  if (access("/usr/lib/python3/dist-packages/pip", F_OK) != 0) GTEST_SKIP() << "python3-pip is not installed";
  ASSERT_EQ(Shell("d=$PYTHONUSERBASE/lib/python$(/usr/bin/python3 -c 'import sys;print(\"%d.%d\"%sys.version_"
                  "info[:2])')/site-packages/csb_own-1.5.dist-info; mkdir -p $d; "
                  "printf 'Metadata-Version: 2.1\\nName: csb-own\\nVersion: 1.5\\n' > $d/METADATA")
                .result_int("exit_code"),
            0);
  const Ending ending = host().Run("pip_list", "{}");
  EXPECT_THAT(ending.out, HasSubstr("csb-own"));
  EXPECT_THAT(ending.out, HasSubstr("pip "));
}

TEST_P(Agent, BoundedOutputKeepsHeadAndTailAndSaysWhatIsMissingWhere) {
  const Ending ending =
      host().Run("shell", R"({"command":"seq 1 100000; echo e >&2","output":{"head":10,"tail":14}})");
  EXPECT_EQ(ending.out,
            "1\n2\n3\n4\n5\n"
            "\n99999\n100000\n");
  EXPECT_EQ(ending.result_int("stdout_bytes"), 588895);
  EXPECT_EQ(ending.result_int("stdout_dropped"), 588895 - 10 - 14);
  EXPECT_EQ(ending.err, "e\n");
  std::vector<std::pair<int, std::string>> of_stdout;
  for (const auto& event : ending.events)
    if (event.second.substr(0, 2) != "2:") of_stdout.push_back(event);
  ASSERT_GE(of_stdout.size(), 3u);
  EXPECT_EQ(of_stdout[of_stdout.size() - 2].first, static_cast<int>(CSB_EVENT_DROPPED));
  EXPECT_EQ(of_stdout[of_stdout.size() - 2].second, R"({"stream":1,"bytes":588871})");
}

TEST_P(Agent, BoundedOutputThatFitsIsWhole) {
  const Ending ending =
      host().Run("shell", R"({"command":"printf 0123456789","output":{"head":4,"tail":6}})");
  EXPECT_EQ(ending.out, "0123456789");
  EXPECT_EQ(ending.result_int("stdout_dropped"), 0);
}

TEST_P(Agent, ManyCommandsAtOnce) {
  std::vector<uint32_t> streams;
  for (int i = 0; i < 40; ++i)
    streams.push_back(host().Open(
        {.op = "shell", .args = Args("command", "read x; echo ${x}" + std::to_string(i)), .input = "n\n"}));
  for (int i = 0; i < 40; ++i)
    EXPECT_EQ(host().Wait(streams[static_cast<size_t>(i)]).out, "n" + std::to_string(i) + "\n");
}

TEST_P(Agent, HundredsOfZombiesAreReaped) {
  const Ending ending = Shell("i=0; while [ $i -lt 700 ]; do (:&); i=$((i+1)); done; echo done");
  EXPECT_EQ(ending.out, "done\n");
  EXPECT_EQ(Shell("echo next").out, "next\n");
}

TEST_P(Agent, FilesAreTheUsers) {
  Ending ending = host().Run(
      Request{.op = "file_write", .args = R"({"path":"d/a.bin"})", .input = std::string(700'000, 'q')});
  EXPECT_EQ(ending.code(), 0) << ending.message();
  ending = host().Run("file_read", R"({"path":"d/a.bin","offset":699990})");
  EXPECT_EQ(ending.data, "qqqqqqqqqq");
  ASSERT_FALSE(ending.events.empty());
  EXPECT_EQ(ending.events[0].first, static_cast<int>(CSB_EVENT_META));
  ending = host().Run("file_read", R"({"path":"none"})");
  EXPECT_EQ(ending.code(), CSB_E_NOT_FOUND);
  EXPECT_EQ(ending.message(), "File not found: none");
  struct stat info;
  ASSERT_EQ(stat((agent_->workspace() + "/d/a.bin").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, GetParam() ? 65534u : geteuid());
}

TEST_P(Agent, CancelledWriteLeavesTheOldFile) {
  ASSERT_EQ(host().Run(Request{.op = "file_write", .args = R"({"path":"a"})", .input = "old"}).code(), 0);
  const uint32_t stream =
      host().Open({.op = "file_write", .args = R"({"path":"a"})", .input = std::string(10'000'000, 'n')});
  for (;;) {
    const auto frame = host().Next();
    ASSERT_TRUE(frame);
    if (frame->kind == Kind::kInputCredit) break;
  }
  host().Send(Kind::kInput, 0, stream, std::string(60'000, 'n'));
  host().Send(Kind::kCancel, 0, stream, R"({"cause":"cancelled"})");
  EXPECT_EQ(host().Wait(stream).code(), CSB_E_CANCELLED);
  EXPECT_EQ(host().Run("file_read", R"({"path":"a"})").data, "old");
  EXPECT_EQ(Shell("ls -A | wc -l").out, "1\n");
}

TEST_P(Agent, ReadOfAFileWaitsForCredit) {
  ASSERT_EQ(
      host()
          .Run(Request{.op = "file_write", .args = R"({"path":"a"})", .input = std::string(2'000'000, 'n')})
          .code(),
      0);
  const uint32_t stream = host().Open({.op = "file_read", .args = R"({"path":"a"})", .credit = 10});
  size_t got = 0;
  while (auto frame = host().Next(300))
    if (frame->kind == Kind::kOutput) got += frame->payload.size();
  EXPECT_EQ(got, 10u);
  host().SendU64(Kind::kCredit, stream, 2'000'000);
  EXPECT_EQ(host().Wait(stream).data.size(), 1'999'990u);
}

TEST_P(Agent, TellsItsStatsAndLimits) {
  const Ending stats = host().Run("agent_stats", "{}");
  EXPECT_EQ(stats.result_int("commands"), 0);
  EXPECT_GT(stats.result_int("processes"), 0);
  const Ending limits = host().Run("agent_limits", "{}");
  EXPECT_EQ(limits.result_int("no_new_privs"), 1);
  EXPECT_EQ(limits.result_text("cap_eff"), "0000000000000000");
  EXPECT_EQ(limits.result_int("uid"), GetParam() ? 65534 : static_cast<int64_t>(geteuid()));
}

TEST_P(Agent, NamesTheFieldThatIsWrong) {
  const auto message = [&](const char* op, const char* args) {
    const Ending ending = host().Run(op, args);
    EXPECT_EQ(ending.code(), CSB_E_INVALID) << op << args;
    return ending.message();
  };
  EXPECT_THAT(message("shell", "{}"), HasSubstr("command: is required"));
  EXPECT_THAT(message("shell", R"({"command":"a\u0000b"})"), HasSubstr("command: "));
  EXPECT_THAT(message("shell", R"({"command":"true","env":{"A=":"b"}})"), HasSubstr("env.A="));
  EXPECT_THAT(message("shell", R"({"command":"true","env":[]})"), HasSubstr("env: "));
  EXPECT_THAT(message("shell", R"({"command":"true","cwd":"none"})"), HasSubstr("cwd: "));
  EXPECT_THAT(message("shell", R"({"command":"true","output":{"head":-1}})"), HasSubstr("output.head"));
  EXPECT_THAT(message("exec", R"({"argv":[]})"), HasSubstr("argv: "));
  EXPECT_THAT(message("exec", R"({"argv":["a",1]})"), HasSubstr("argv: "));
  EXPECT_THAT(message("execute", R"({"code":1})"), HasSubstr("code: "));
  EXPECT_THAT(message("pip_install", R"({"package":"--index-url=http://x"})"), HasSubstr("package: "));
  EXPECT_EQ(host().Run("shel", "{}").code(), CSB_E_UNSUPPORTED);
}

TEST_P(Agent, MissingPythonIsExplained) {
  AgentUnderTest agent({.separate = GetParam(), .more = {"--python", "/nonexistent/python3"}});
  const Ending ending = agent.host().Run("execute", R"({"code":"1"})");
  EXPECT_EQ(ending.code(), CSB_E_UNAVAILABLE);
  EXPECT_THAT(ending.message(), HasSubstr("python3 was not found"));
  EXPECT_THAT(std::string(*json::GetString(ending.done, "hint")), HasSubstr("apt-get install python3"));
}

TEST_P(Agent, ARuleBreakingHostIsDisconnectedAndTheAgentEnds) {
  const auto breaks = [&](const std::function<void(HostEnd&)>& act) {
    AgentUnderTest agent({.separate = GetParam()});
    act(agent.host());
    while (agent.host().Next(5000)) {
    }
    EXPECT_TRUE(agent.host().ended());
  };
  breaks([](HostEnd& h) { h.SendRaw("GET / HTTP/1.1\r\n\r\n"); });
  breaks([](HostEnd& h) { h.Send(Kind::kDone, 0, 1, "{}"); });
  breaks([](HostEnd& h) { h.Send(Kind::kWelcome, 0, 0, "{\"proto\":1}"); });
  breaks([](HostEnd& h) { h.Send(Kind::kOpen, 0, 0, "{}"); });
  breaks([](HostEnd& h) { h.Send(Kind::kOpen, 0, 1, "nonsense"); });
  breaks([](HostEnd& h) { h.Send(Kind::kOpen, 0, 1, std::string(200'000, '[')); });
  breaks([](HostEnd& h) { h.SendU64(Kind::kCredit, 5, 1); });
  breaks([](HostEnd& h) {
    h.Open({.op = "shell", .args = R"({"command":"sleep 9"})"});
    h.Send(Kind::kOpen, 0, 1, R"({"op":"agent_stats"})");
  });
  breaks([](HostEnd& h) {
    const uint32_t stream = h.Open({.op = "shell", .args = R"({"command":"sleep 9"})"});
    h.Send(Kind::kInput, 0, stream, "not asked for");
  });
}

TEST_P(Agent, FramesForAStreamThatJustEndedAreHarmless) {
  const uint32_t stream = host().Open({.op = "shell", .args = R"({"command":"true"})"});
  host().Wait(stream);
  host().SendU64(Kind::kCredit, stream, 1);
  host().Send(Kind::kCancel, 0, stream, "{}");
  host().Send(Kind::kInput, 1, stream, "");
  EXPECT_EQ(Shell("echo on").out, "on\n");
}

TEST_P(Agent, AnswersPing) {
  host().SendU64(Kind::kPing, 0, 77);
  const auto pong = host().Next();
  ASSERT_TRUE(pong);
  EXPECT_EQ(pong->kind, Kind::kPong);
  EXPECT_EQ(protocol::LoadU64(pong->payload.data()), 77u);
}

TEST_P(Agent, DisconnectEndsWhatTheHostStarted) {
  host().Open({.op = "shell", .args = R"({"command":"trap '' TERM HUP; sleep 23456.5 & sleep 23456.5"})"});
  while (ProcessesWith("23456.5").size() < 3) usleep(1000);
  host().Close();
  const auto status = agent_->WaitForExit();
  ASSERT_TRUE(status);
  EXPECT_EQ(*status, 0);
  EXPECT_TRUE(ProcessesWith("23456.5").empty());
}

TEST_P(Agent, ShutdownEndsEverythingAndTellsTheHost) {
  const uint32_t stream = host().Open({.op = "shell", .args = R"({"command":"sleep 34567.5"})"});
  while (ProcessesWith("34567.5").empty()) usleep(1000);
  host().Send(Kind::kShutdown, 0, 0, "{}");
  EXPECT_EQ(host().Wait(stream).result_text("cause"), "cancelled");
  EXPECT_EQ(agent_->WaitForExit(), 0);
  EXPECT_TRUE(ProcessesWith("34567.5").empty());
}

}  // namespace
}  // namespace csb::agent::testing
