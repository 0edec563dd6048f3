// SPDX-License-Identifier: Apache-2.0
//
// What runs in the background, as a host sees it; and the log of its output by itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "agent/background/output_log.h"
#include "agent/base/fd.h"
#include "agent/testing/agent_under_test.h"
#include "clara_sandbox/operation.h"

namespace csb::agent::testing {
namespace {

using ::testing::HasSubstr;

std::string All(const OutputLog& log, uint64_t from) {
  std::string text;
  for (uint64_t at = from; at < log.end();) {
    const auto piece = log.At(at, 3);
    if (piece.bytes.empty()) return text + "?";
    text += piece.bytes;
    at += piece.bytes.size();
  }
  return text;
}

TEST(OutputLog, KeepsTheNewestInOrderOfArrival) {
  OutputLog log(10);
  log.Append(CSB_STREAM_STDOUT, "abc");
  log.Append(CSB_STREAM_STDERR, "XY");
  log.Append(CSB_STREAM_STDOUT, "def");
  EXPECT_EQ(All(log, 0), "abcXYdef");
  EXPECT_EQ(log.At(3, 99).stream, CSB_STREAM_STDERR);
  EXPECT_EQ(log.At(4, 99).bytes, "Y");
  log.Append(CSB_STREAM_STDERR, "123456");
  EXPECT_EQ(log.begin(), 4u);
  EXPECT_EQ(log.end(), 14u);
  EXPECT_EQ(All(log, log.begin()), "Ydef123456");
  EXPECT_EQ(log.bytes(CSB_STREAM_STDOUT), 6u);
  EXPECT_EQ(log.bytes(CSB_STREAM_STDERR), 8u);
  log.Append(CSB_STREAM_STDOUT, std::string(100'000, 'z'));
  EXPECT_EQ(All(log, log.begin()), std::string(10, 'z'));
  EXPECT_TRUE(log.At(0, 1).bytes.empty());
  EXPECT_TRUE(log.At(log.end(), 1).bytes.empty());
}

TEST(OutputLog, CountsWhatItCostsToKeepManyPieces) {
  OutputLog log(100'000);
  for (int i = 0; i < 100'000; ++i) log.Append(i % 2 == 0 ? CSB_STREAM_STDOUT : CSB_STREAM_STDERR, "x");
  EXPECT_EQ(log.end(), 100'000u);
  EXPECT_LT(log.size(), 2000u);
  EXPECT_EQ(log.dropped(CSB_STREAM_STDOUT) + log.dropped(CSB_STREAM_STDERR), log.begin());
}

class Processes : public ::testing::Test {
 protected:
  Ending Do(const std::string& op, const std::string& args, std::optional<std::string> input = std::nullopt) {
    return agent_.host().Run({.op = op, .args = args, .timeout_ms = 20'000, .input = std::move(input)});
  }
  std::string Start(const std::string& members) {
    const Ending ending = Do("process_start", "{" + members + "}");
    EXPECT_EQ(ending.code(), 0) << ending.message();
    return ending.result_text("handle");
  }
  Ending Of(const std::string& op, const std::string& handle, const std::string& more = "",
            std::optional<std::string> input = std::nullopt) {
    return Do("process_" + op, R"({"handle":")" + handle + "\"" + (more.empty() ? "" : "," + more) + "}",
              std::move(input));
  }
  AgentUnderTest agent_{{.binary = true}};
};

TEST_F(Processes, TellTheirOutputFromAnOffsetAlsoAfterTheirEnd) {
  const std::string handle = Start(R"x("command":"echo one; echo two >&2; sleep 0.05; echo three; exit 3")x");
  const Ending end = Of("wait", handle, R"("timeout":20)");
  EXPECT_EQ(end.result_text("state"), "exited");
  EXPECT_EQ(end.result_int("exit_code"), 3);
  const Ending all = Of("output", handle);
  EXPECT_EQ(all.out, "one\nthree\n");
  EXPECT_EQ(all.err, "two\n");
  EXPECT_EQ(all.result_int("next_offset"), 14);
  const Ending some = Of("output", handle, R"("offset":4,"limit":5)");
  EXPECT_EQ(some.err + some.out, "two\nt");
  EXPECT_EQ(some.result_int("next_offset"), 9);
  EXPECT_EQ(Of("output", handle, R"("offset":-6)").out, "three\n");
  EXPECT_EQ(Of("output", handle, R"("offset":99999)").out, "");
}

TEST_F(Processes, OutputIsWaitedFor) {
  const std::string handle = Start(R"x("command":"read line; echo got $line; read line")x");
  const Ending nothing = Of("output", handle, R"("wait":0.05)");
  EXPECT_EQ(nothing.out, "");
  EXPECT_EQ(nothing.result_text("state"), "running");
  const uint32_t waits = agent_.host().Open(
      {.op = "process_output", .args = R"({"handle":")" + handle + R"(","wait":20})", .timeout_ms = 20'000});
  EXPECT_EQ(Of("input", handle, "", "word\n").result_int("written"), 5);
  const Ending got = agent_.host().Wait(waits);
  EXPECT_EQ(got.out, "got word\n");
  EXPECT_EQ(Of("input", handle, R"("eof":true)", "").code(), 0);
  EXPECT_EQ(Of("wait", handle).result_text("state"), "exited");
  const Ending closed = Of("input", handle, "", "x");
  EXPECT_EQ(closed.code(), CSB_E_CONFLICT);
  EXPECT_THAT(closed.message(), HasSubstr(handle));
}

TEST_F(Processes, GetSignalsAndAKillReachesAllDescendants) {
  const std::string handle = Start(R"x("command":"trap 'echo usr' USR1; while :; do sleep 0.01; done")x");
  EXPECT_EQ(Of("signal", handle, R"("signal":"USR1")").code(), 0);
  const std::string marker = "84" + std::to_string(getpid());
  const std::string other = Start("\"command\":\"setsid sleep " + marker + " & wait\"");
  for (const int64_t end = NowNs() + 10 * kSecond;
       NowNs() < end && ProcessesWith("sleep\0" + marker).empty();)
    usleep(1000);
  EXPECT_EQ(Of("signal", other, R"("signal":"SIGKILL")").code(), 0);
  EXPECT_EQ(Of("wait", other).result_text("state"), "exited");
  EXPECT_TRUE(ProcessesWith(marker).empty());
  EXPECT_EQ(Of("signal", handle, R"("signal":"NOSUCH")").code(), CSB_E_INVALID);
  EXPECT_EQ(Of("remove", handle).result_text("status"), "deleted");
  EXPECT_EQ(Of("wait", handle).code(), CSB_E_NOT_FOUND);
}

TEST_F(Processes, AreListedAndHaveADeadlineOfTheirOwn) {
  const std::string handle = Start(R"("argv":["sleep","60"],"timeout":0.1)");
  const Ending end = Of("wait", handle, R"("timeout":20)");
  EXPECT_EQ(end.result_text("cause"), "deadline");
  const Ending list = Do("process_list", "{}");
  EXPECT_THAT(json::ToString(list.done), HasSubstr(handle));
  EXPECT_THAT(json::ToString(list.done), HasSubstr("sleep 60"));
  const std::string missing = Start(R"("argv":["no-such-program"])");
  const Ending none = Of("wait", missing);
  EXPECT_EQ(none.result_int("exit_code"), 127);
  EXPECT_THAT(none.result_text("message"), HasSubstr("no-such-program"));
}

TEST_F(Processes, DropTheOldestOfWhatTheyPrint) {
  const std::string handle = Start(R"x("command":"head -c 20000000 /dev/zero | tr '\\0' a; echo end")x");
  EXPECT_EQ(Of("wait", handle, R"("timeout":20)").result_text("state"), "exited");
  const Ending info = Of("output", handle, R"("offset":0,"limit":10)");
  EXPECT_EQ(info.result_int("bytes"), 20'000'004);
  EXPECT_EQ(info.result_int("first_offset"), 20'000'004 - (8 << 20));
  EXPECT_EQ(info.result_int("offset"), 20'000'004 - (8 << 20));
  EXPECT_EQ(Of("output", handle, R"("offset":-4)").out, "end\n");
}

TEST_F(Processes, HaveATerminal) {
  const std::string handle =
      Start(R"x("command":"tty; stty size; read x; stty size; read y","terminal":{"rows":30,"cols":90})x");
  const uint32_t attached = agent_.host().Open({.op = "process_attach",
                                                .args = R"({"handle":")" + handle + R"(","offset":0})",
                                                .timeout_ms = 20'000,
                                                .open_input = true});
  EXPECT_TRUE(agent_.host().WaitForOutput(attached, "30 90"));
  EXPECT_EQ(Of("resize", handle, R"("rows":40,"cols":100)").code(), 0);
  EXPECT_EQ(Of("input", handle, "", "\n").code(), 0);
  EXPECT_TRUE(agent_.host().WaitForOutput(attached, "40 100"));
  // As a person would: the terminal makes a signal of it.
  EXPECT_EQ(Of("input", handle, "", "\x03").code(), 0);
  const Ending end = agent_.host().Wait(attached);
  EXPECT_EQ(end.result_text("state"), "exited");
  EXPECT_EQ(end.result_int("signal"), 2);
  EXPECT_EQ(Of("resize", handle, R"("rows":40,"cols":100)").code(), CSB_E_CONFLICT);
}

TEST_F(Processes, AnAttachThatIsCancelledLeavesThem) {
  const std::string handle = Start(R"("argv":["sleep","60"])");
  const uint32_t attached = agent_.host().Open(
      {.op = "process_attach", .args = R"({"handle":")" + handle + "\"}", .timeout_ms = 20'000});
  agent_.host().Send(protocol::Kind::kCancel, 0, attached, R"({"cause":"cancelled"})");
  EXPECT_EQ(agent_.host().Wait(attached).code(), CSB_E_CANCELLED);
  EXPECT_EQ(Of("wait", handle, R"("timeout":0)").result_text("state"), "running");
}

TEST_F(Processes, ARunIsGivenUpAndGoesOn) {
  const Ending run = Do("shell", R"x({"command":"echo first; sleep 0.3; echo second","yield_after":0.1})x");
  EXPECT_EQ(run.result_text("cause"), "running");
  EXPECT_EQ(run.out, "first\n");
  const std::string handle = run.result_text("handle");
  EXPECT_EQ(Of("wait", handle).result_int("exit_code"), 0);
  EXPECT_EQ(Of("output", handle, R"("offset":6)").out, "second\n");
  const Ending quick = Do("shell", R"x({"command":"echo out; exit 4","yield_after":20})x");
  EXPECT_EQ(quick.result_text("cause"), "exit");
  EXPECT_EQ(quick.result_int("exit_code"), 4);
  EXPECT_EQ(quick.out, "out\n");
  EXPECT_EQ(quick.result_text("handle"), "");
}

TEST_F(Processes, WhatWasCutOutOfARunsAnswerCanBeRead) {
  const Ending run = Do("shell", R"x({"command":"seq 1 10000","keep":true,"output":{"head":10,"tail":10}})x");
  EXPECT_EQ(run.out, "1\n2\n3\n4\n5\n999\n10000\n");
  EXPECT_GT(run.result_int("stdout_dropped"), 40'000);
  EXPECT_EQ(Of("output", run.result_text("handle"), R"("offset":10,"limit":4)").out, "6\n7\n");
  const Ending python =
      Do("execute",
         R"x({"code":"print('x' * 1000)","context":"c","yield_after":20,"output":{"head":4,"tail":4}})x");
  EXPECT_EQ(python.result_int("stdout_dropped"), 1001 - 8);
  EXPECT_EQ(Of("output", python.result_text("handle"), R"("offset":4,"limit":4)").out, "xxxx");
}

TEST_F(Processes, CodeInAContextIsGivenUpAndGoesOn) {
  const Ending run = Do(
      "execute",
      R"x({"code":"import time\nprint('a')\ntime.sleep(0.4)\nx = 5\nprint('b')","context":"c","yield_after":0.2})x");
  EXPECT_EQ(run.result_text("cause"), "running");
  EXPECT_EQ(run.out, "a\n");
  // The next waits for its turn.
  EXPECT_EQ(Do("execute", R"x({"code":"print(x)","context":"c","yield_after":20})x").out, "5\n");
  const Ending end = Of("wait", run.result_text("handle"));
  EXPECT_EQ(end.result_int("exit_code"), 0);
  EXPECT_EQ(Of("output", run.result_text("handle")).out, "a\nb\n");
}

TEST_F(Processes, ACancelledRunEndsAndADeadlineIsTold) {
  const uint32_t run = agent_.host().Open(
      {.op = "shell", .args = R"({"command":"echo x; sleep 60","keep":true})", .timeout_ms = 20'000});
  EXPECT_TRUE(agent_.host().WaitForOutput(run, "x"));
  agent_.host().Send(protocol::Kind::kCancel, 0, run, R"({"cause":"cancelled"})");
  EXPECT_EQ(agent_.host().Wait(run).result_text("cause"), "cancelled");
  const Ending late = agent_.host().Run(
      {.op = "shell", .args = R"({"command":"echo y; sleep 60","yield_after":20})", .timeout_ms = 100});
  EXPECT_EQ(late.result_text("cause"), "deadline");
  EXPECT_EQ(late.out, "y\n");
}

TEST_F(Processes, ASlowReaderOfAKeptRunIsToldWhatIsMissing) {
  const uint32_t run =
      agent_.host().Open({.op = "shell",
                          .args = R"x({"command":"head -c 20000000 /dev/zero","keep":true})x",
                          .timeout_ms = 20'000,
                          .credit = 1000});
  EXPECT_TRUE(agent_.host().WaitForOutput(run, std::string(1, '\0')));
  // Its program did not wait for the reader.
  for (const int64_t end = NowNs() + 10 * kSecond; NowNs() < end;)
    if (json::ToString(Do("process_list", "{}").done).find("\"exited\"") != std::string::npos) break;
  agent_.host().SendU64(protocol::Kind::kCredit, run, 1 << 30);
  const Ending end = agent_.host().Wait(run);
  EXPECT_EQ(end.out.size() + static_cast<size_t>(end.result_int("stdout_dropped")), 20'000'000u);
  EXPECT_GT(end.result_int("stdout_dropped"), 10'000'000);
}

TEST_F(Processes, AProgramThatDoesNotReadEndsNothingButTheInput) {
  const std::string handle = Start(R"("argv":["sleep","60"])");
  const Ending late = agent_.host().Run({.op = "process_input",
                                         .args = R"({"handle":")" + handle + "\"}",
                                         .timeout_ms = 300,
                                         .input = std::string(2 << 20, 'x')});
  EXPECT_EQ(late.code(), CSB_E_DEADLINE);
  EXPECT_THAT(late.message(), HasSubstr("did not read"));
  EXPECT_EQ(Of("wait", handle, R"("timeout":0)").result_text("state"), "running");
  const std::string prints = Start(R"("command":"yes")");
  const Ending unread = agent_.host().Run({.op = "process_output",
                                           .args = R"({"handle":")" + prints + R"(","wait":20})",
                                           .timeout_ms = 300,
                                           .credit = 100});
  EXPECT_EQ(unread.code(), 0);
  EXPECT_EQ(Of("output", handle, R"("offset":-9223372036854775808)").code(), 0);
}

TEST_F(Processes, HostileHandlesAndArgumentsAreRefused) {
  for (const char* handle : {"", "p_", "../x", "p_0123456789abcdef01234567"}) {
    EXPECT_EQ(Of("wait", handle).code(), CSB_E_NOT_FOUND) << handle;
    EXPECT_EQ(Of("output", handle).code(), CSB_E_NOT_FOUND) << handle;
  }
  EXPECT_EQ(Do("process_wait", R"({"handle":7})").code(), CSB_E_INVALID);
  EXPECT_EQ(Do("process_start", "{}").code(), CSB_E_INVALID);
  EXPECT_EQ(Do("process_start", R"({"argv":["x"],"terminal":{"rows":0}})").code(), CSB_E_INVALID);
  EXPECT_EQ(Do("process_nothing", R"({"handle":"x"})").code(), CSB_E_NOT_FOUND);
}

TEST_F(Processes, AreBoundedInNumber) {
  for (int i = 0; i < 128; ++i) Start(R"("argv":["sleep","60"])");
  const Ending more = Do("process_start", R"({"argv":["sleep","60"]})");
  EXPECT_EQ(more.code(), CSB_E_NO_CAPACITY);
  EXPECT_THAT(more.message(), HasSubstr("128"));
}

TEST_F(Processes, EndWithTheAgent) {
  const std::string marker = "83" + std::to_string(getpid());
  Start("\"argv\":[\"sleep\",\"" + marker + "\"]");
  agent_.host().Close();
  EXPECT_TRUE(agent_.WaitForExit());
  EXPECT_TRUE(ProcessesWith(marker).empty());
}

}  // namespace
}  // namespace csb::agent::testing
