// SPDX-License-Identifier: Apache-2.0
//
// Contexts as a host sees them: state that stays, ends that keep it and ends that do not, and what code
// shows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "agent/base/fd.h"
#include "agent/testing/agent_under_test.h"
#include "clara_sandbox/operation.h"

namespace csb::agent::testing {
namespace {

using ::testing::HasSubstr;

std::string Arguments(const std::string& code, const std::string& context = "c",
                      const std::string& more = "") {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", code);
  if (!context.empty()) json::Member(w, "context", context);
  w.EndObject();
  std::string text(buffer.GetString(), buffer.GetSize());
  if (!more.empty()) text.insert(text.size() - 1, "," + more);
  return text;
}

class Contexts : public ::testing::TestWithParam<bool> {
 protected:
  Ending Run(const std::string& code, const std::string& context = "c", uint64_t timeout_ms = 20'000,
             const std::string& more = "") {
    return agent_.host().Run(
        {.op = "execute", .args = Arguments(code, context, more), .timeout_ms = timeout_ms});
  }
  // One member of the result's "context"; -1: not there.
  static int Told(const Ending& ending, const char* member) {
    const json::Value* result = json::Find(ending.done, "result");
    const json::Value* context = result != nullptr ? json::Find(*result, "context") : nullptr;
    if (context == nullptr) return -1;
    if (const auto yes = json::GetBool(*context, member)) return *yes ? 1 : 0;
    return static_cast<int>(json::GetInt(*context, member).value_or(-1));
  }
  static std::string Lost(const Ending& ending) {
    const json::Value* context = json::Find(*json::Find(ending.done, "result"), "context");
    return context == nullptr ? "" : std::string(json::GetString(*context, "lost").value_or(""));
  }
  // What was shown, one JSON text each.
  static std::vector<std::string> Shown(const Ending& ending) {
    std::vector<std::string> shown;
    for (const auto& [event, text] : ending.events)
      if (event == CSB_EVENT_RESULT) shown.push_back(text);
    return shown;
  }
  AgentUnderTest agent_{{.binary = true, .more = {"--warm-python", GetParam() ? "300" : "0"}}};
};

INSTANTIATE_TEST_SUITE_P(Interpreter, Contexts, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? "Warm" : "Plain"; });

TEST_P(Contexts, KeepVariablesImportsFolderAndOpenFiles) {
  const Ending first = Run("import os\nx = 41\nos.makedirs('d')\nos.chdir('d')\nf = open('file', 'w')");
  EXPECT_EQ(first.result_int("exit_code"), 0) << first.err;
  EXPECT_EQ(Told(first, "new"), 1);
  const Ending second =
      Run("x += 1\nf.write('t')\nf.close()\nprint(x, os.path.basename(os.getcwd()), open('file').read())");
  EXPECT_EQ(second.out, "42 d t\n") << second.err;
  EXPECT_EQ(Told(second, "new"), 0);
  EXPECT_EQ(Told(second, "executions"), 2);
  EXPECT_EQ(Run("print('x' in globals())", "other").out, "False\n");
}

TEST_P(Contexts, ShowTheLastExpressionAndWhatIsDisplayed) {
  const auto value = Shown(Run("x = 6\nx * 7"));
  ASSERT_EQ(value.size(), 1u);
  EXPECT_EQ(value[0], R"({"kind":"value","data":{"text/plain":"42"}})");
  EXPECT_TRUE(Shown(Run("x;")).empty());
  EXPECT_TRUE(Shown(Run("None")).empty());
  const auto shown =
      Shown(Run("class A:\n    def _repr_html_(self): return '<b>a</b>'\n    def __repr__(self): return "
                "'A'\n    def _repr_png_(self): return b'\\x89PNG'\ndisplay(A())\nprint('after')"));
  ASSERT_EQ(shown.size(), 1u);
  const auto parsed = json::ParseObject(shown[0]);
  ASSERT_TRUE(parsed);
  const json::Value* data = json::Find(*parsed, "data");
  EXPECT_EQ(json::GetString(*data, "text/html"), "<b>a</b>");
  EXPECT_EQ(json::GetString(*data, "image/png"), "iVBORw==");
  EXPECT_EQ(json::GetString(*data, "text/plain"), "A");
}

TEST_P(Contexts, ResultsWithoutAContextComeOfAFreshInterpreter) {
  Run("x = 1", "c");
  const Ending ending = Run("'x' in globals()", "", 20'000, R"("results":true)");
  ASSERT_EQ(Shown(ending).size(), 1u);
  EXPECT_THAT(Shown(ending)[0], HasSubstr("False"));
  EXPECT_EQ(Told(ending, "new"), -1);
  EXPECT_THAT(agent_.host().Run("context_list", "{}").done, ::testing::Truly([](const json::Document& done) {
                return json::Find(*json::Find(done, "result"), "contexts")->Size() == 1;
              }));
}

TEST_P(Contexts, ResultsAreBoundedAndSaidToBe) {
  const Ending many = Run("for i in range(100): display(i)");
  EXPECT_EQ(Shown(many).size(), 64u);
  EXPECT_THAT(many.err, HasSubstr("left out"));
  const auto large = Shown(Run("class A:\n    def _repr_png_(self): return b'x' * (2 << 20)\nA()"));
  ASSERT_EQ(large.size(), 1u);
  EXPECT_LT(large[0].size(), 10'000u);
  EXPECT_THAT(large[0], HasSubstr("image/png of"));
}

TEST_P(Contexts, TellErrorsWithTheirLinesAndGoOn) {
  Run("def f(x):\n    return 1 / x");
  const Ending ending = Run("y = 5\nf(0)");
  EXPECT_EQ(ending.result_int("exit_code"), 1);
  EXPECT_THAT(ending.err, HasSubstr("line 2, in <module>"));
  EXPECT_THAT(ending.err, HasSubstr("return 1 / x"));
  EXPECT_THAT(ending.err, ::testing::Not(HasSubstr("__main__.py")));
  EXPECT_EQ(Run("print(y)").out, "5\n");
  const Ending syntax = Run("1 +");
  EXPECT_THAT(syntax.err, HasSubstr("SyntaxError"));
  EXPECT_THAT(syntax.err, ::testing::Not(HasSubstr("Traceback")));
  EXPECT_EQ(Run("import sys\nsys.exit(7)").result_int("exit_code"), 7);
  EXPECT_EQ(Run("print(y)").out, "5\n");
}

TEST_P(Contexts, ADeadlineInterruptsAndKeepsTheState) {
  Run("x = 1");
  const Ending ending =
      Run("x = 2\nimport time\nprint('begun', flush=True)\ntime.sleep(60)\nx = 3", "c", 300);
  EXPECT_EQ(ending.result_text("cause"), "deadline");
  EXPECT_EQ(ending.result_int("exit_code"), 124);
  EXPECT_EQ(ending.out, "begun\n");
  EXPECT_EQ(Told(ending, "kept"), 1);
  const Ending next = Run("print(x)");
  EXPECT_EQ(next.out, "2\n");
  EXPECT_EQ(Lost(next), "");
}

TEST_P(Contexts, OneThatDoesNotObeyIsKilledAndTheNextAnswerSaysSo) {
  Run("x = 1");
  const Ending ending =
      Run("import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n       "
          " pass",
          "c", 300);
  EXPECT_EQ(ending.result_text("cause"), "deadline");
  EXPECT_EQ(Told(ending, "kept"), 0);
  const Ending next = Run("print('x' in globals())");
  EXPECT_EQ(next.out, "False\n");
  EXPECT_EQ(Told(next, "new"), 1);
  EXPECT_THAT(Lost(next), HasSubstr("interrupt"));
  EXPECT_EQ(Lost(Run("1")), "");
}

TEST_P(Contexts, OneThatEndsItselfIsTold) {
  const Ending ending = Run("import os\nprint('out', flush=True)\nos._exit(3)");
  EXPECT_EQ(ending.out, "out\n");
  EXPECT_EQ(ending.result_int("exit_code"), 3);
  EXPECT_EQ(Told(ending, "kept"), 0);
  EXPECT_THAT(Lost(Run("1")), HasSubstr("exit code 3"));
}

TEST_P(Contexts, ReadInputAndAwait) {
  const Ending ending = agent_.host().Run({.op = "execute",
                                           .args = Arguments("a = input()\nprint(a, input('? '))"),
                                           .timeout_ms = 20'000,
                                           .input = "one\ntwo\n"});
  EXPECT_EQ(ending.out, "? one two\n") << ending.err;
  EXPECT_THAT(Run("input()").err, HasSubstr("EOFError"));
  EXPECT_EQ(Run("import asyncio\nawait asyncio.sleep(0)\nprint('awaited')").out, "awaited\n");
}

TEST_P(Contexts, WaitForEachOther) {
  std::vector<uint32_t> streams;
  Run("n = 0");
  for (int i = 0; i < 10; ++i)
    streams.push_back(
        agent_.host().Open({.op = "execute", .args = Arguments("n += 1\nprint(n)"), .timeout_ms = 20'000}));
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(agent_.host().Wait(streams[static_cast<size_t>(i)]).out, std::to_string(i + 1) + "\n");
  const uint32_t slow = agent_.host().Open(
      {.op = "execute", .args = Arguments("import time; time.sleep(1)"), .timeout_ms = 20'000});
  const Ending late = Run("1", "c", 100);
  EXPECT_EQ(late.code(), CSB_E_DEADLINE);
  EXPECT_THAT(late.message(), HasSubstr("context c"));
  EXPECT_EQ(agent_.host().Wait(slow).result_int("exit_code"), 0);
}

TEST_P(Contexts, AreListedAndDeletedWithAllTheyStarted) {
  const std::string marker = "85" + std::to_string(getpid());
  // Its line says that it runs: a program that was executed just now has no command line for a moment.
  Run("import subprocess\np = subprocess.Popen(['sh', '-c', 'echo; sleep " + marker +
      "; :'], start_new_session=True, stdout=subprocess.PIPE)\np.stdout.readline()");
  EXPECT_FALSE(ProcessesWith(marker).empty());
  EXPECT_EQ(agent_.host().Run("context_delete", R"({"name":"c"})").result_text("status"), "deleted");
  EXPECT_EQ(agent_.host().Run("context_delete", R"({"name":"c"})").result_text("status"), "not_found");
  const Ending next = Run("print('p' in globals())");
  EXPECT_EQ(next.out, "False\n");
  EXPECT_EQ(Lost(next), "");
  for (const int64_t end = NowNs() + 10 * kSecond; NowNs() < end && !ProcessesWith(marker).empty();)
    usleep(1000);
  EXPECT_TRUE(ProcessesWith(marker).empty());
}

TEST_P(Contexts, OutputIsBoundedAndWithinCredit) {
  const Ending cut = Run("print('x' * 100000)", "c", 20'000, R"("output":{"head":10,"tail":5})");
  EXPECT_EQ(cut.out, "xxxxxxxxxxxxxx\n");
  EXPECT_EQ(cut.result_int("stdout_dropped"), 100001 - 15);
  const uint32_t stream = agent_.host().Open(
      {.op = "execute", .args = Arguments("print('y' * 300000)"), .timeout_ms = 20'000, .credit = 1000});
  EXPECT_TRUE(agent_.host().WaitForOutput(stream, "y"));
  agent_.host().SendU64(protocol::Kind::kCredit, stream, 1 << 20);
  EXPECT_EQ(agent_.host().Wait(stream).out.size(), 300001u);
}

TEST_P(Contexts, WhatABackgroundThreadPrintsComesWithTheNext) {
  const Ending first =
      Run("import threading, time\nt = threading.Thread(target=lambda: (time.sleep(0.05), "
          "print('late')))\nt.start()");
  EXPECT_EQ(first.out, "");
  EXPECT_EQ(Run("t.join()\nprint('now')").out, "late\nnow\n");
}

TEST_P(Contexts, HostileCodeHurtsOnlyItself) {
  const Ending closed =
      Run("import os\nfor fd in range(3, 64):\n    try: os.close(fd)\n    except OSError: pass");
  EXPECT_EQ(Told(closed, "kept"), 0);
  const Ending forged =
      Run("import os, socket, stat\nfor fd in range(3, 64):\n    try:\n        if "
          "stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, b'garbage\\n')\n    except OSError: "
          "pass\nimport time\ntime.sleep(5)");
  EXPECT_EQ(Told(forged, "kept"), 0);
  EXPECT_EQ(Run("print('well')").out, "well\n");
  EXPECT_EQ(Run("print(1)", "a b").code(), CSB_E_INVALID);
  for (int i = 0; i < 16; ++i) Run("1", "n" + std::to_string(i));
  const Ending more = Run("1", "one-more");
  EXPECT_EQ(more.code(), CSB_E_NO_CAPACITY);
  EXPECT_THAT(more.message(), HasSubstr("16 contexts"));
}

TEST_P(Contexts, AHostThatIsGoneInterruptsButKeepsThem) {
  // The channel of this agent is its only one, so that the agent ends with it: all at once, and in time.
  Run("x = 1");
  agent_.host().Open({.op = "execute", .args = Arguments("import time; time.sleep(60)")});
  const int64_t before = NowNs();
  agent_.host().Close();
  EXPECT_TRUE(agent_.WaitForExit());
  EXPECT_LT(NowNs() - before, 5 * kSecond);
}

}  // namespace
}  // namespace csb::agent::testing
