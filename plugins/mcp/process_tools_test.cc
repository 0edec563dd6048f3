// SPDX-License-Identifier: Apache-2.0
//
// What a model reads of runs that are kept, of what code showed, and of processes.
#include "plugins/common/base64.h"
#include "plugins/mcp/run_answer.h"
#include "plugins/mcp/session_testing.h"

namespace csb::mcp::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kHandle[] = "p_0123456789abcdef01234567";

class ProcessToolsTest : public SessionTest {
 protected:
  ProcessToolsTest() { Initialize(); }
  // An execute that shows these things, prints this, and ends so.
  void Shows(std::vector<std::string> results, std::string output = "",
             std::string result = ProgramResult(0)) {
    service_.On(CSB_OP_EXECUTE, [=](const RequestView&, EventSink sink) {
      if (!output.empty()) sink.Output(CSB_STREAM_STDOUT, output);
      for (const std::string& item : results) sink.Event(CSB_EVENT_RESULT, item);
      sink.Done(result);
      return FakeService::NoOperation();
    });
  }
  json::Document Run() {
    CallTool("1", "execute_python", R"({"code":"x"})");
    return Take();
  }
  std::string Payload() { return service_.requests().back().payload; }
  static std::string Info(const std::string& more = "", const std::string& state = "running") {
    return std::string(R"({"handle":")") + kHandle + R"(","state":")" + state +
           R"(","command":"serve","execution_time":2.5,"bytes":9)" + more + "}";
  }
};

TEST_F(ProcessToolsTest, PythonKeepsItsStateAndWhatTakesLongGoesOn) {
  Shows({});
  Run();
  EXPECT_THAT(Payload(), HasSubstr(R"("context":"default","keep":true,"yield_after":45.0)"));
  CallTool("1", "execute_python", R"({"code":"x","context":"other"})");
  Take();
  EXPECT_THAT(Payload(), HasSubstr(R"("context":"other")"));
  Open({.yield_after = 0});
  Initialize();
  Run();
  EXPECT_THAT(Payload(), Not(HasSubstr("yield_after")));
}

TEST_F(ProcessToolsTest, ARunThatGoesOnSaysWhatToDoNext) {
  Shows({}, "so far\n",
        std::string(R"({"exit_code":0,"cause":"running","running":true,"execution_time":45,"handle":")") +
            kHandle + "\"}");
  const auto answer = Run();
  EXPECT_FALSE(IsError(answer));
  EXPECT_THAT(Text(answer),
              HasSubstr("so far\n[still running; process_output(\"p_0123456789abcdef01234567\", "
                        "offset=7, wait=30) shows more, wait("));
  EXPECT_THAT(last_, HasSubstr(R"("execution_time":45.0,"running":true,"handle":"p_0123)"));
  EXPECT_THAT(last_, HasSubstr(R"("bytes":7})"));
}

TEST_F(ProcessToolsTest, TheMiddleOfALongOutputHasAHandle) {
  Open({.max_output = 1000});
  Initialize();
  Shows({}, std::string(2500, 'x'), ProgramResult(0, std::string(R"(,"handle":")") + kHandle + "\""));
  EXPECT_THAT(Text(Run()), HasSubstr("x\n… 1,500 bytes omitted, read_output(\"p_0123456789abcdef01234567\", "
                                     "offset=500) …\nx"));
  EXPECT_THAT(last_, HasSubstr(R"(","truncated":true,"bytes":2500})"));
  Shows({}, std::string(2500, 'x'));
  EXPECT_THAT(Text(Run()), HasSubstr("[to see the rest write it to a file and use read_file with offset]"));
  EXPECT_THAT(last_, HasSubstr(R"("message":"to see the rest)")) << "where this is shown alone, too";
}

TEST_F(ProcessToolsTest, ACutDoesNotSplitACharacter) {
  Open({.max_output = 1000});
  Initialize();
  std::string euros;
  for (int i = 0; i < 1000; ++i) euros += "€";
  Shows({}, euros, ProgramResult(0, std::string(R"(,"handle":")") + kHandle + "\""));
  const std::string text = Text(Run());
  EXPECT_THAT(text, HasSubstr("offset=498) …"));
  EXPECT_THAT(text, Not(HasSubstr("\xEF\xBF\xBD")));
}

TEST_F(ProcessToolsTest, BytesAreToldAndNotShown) {
  Shows({}, std::string("\x89PNG\r\n\x1a\n\0\0\0", 11));
  EXPECT_EQ(Text(Run()), "(binary output: 11 bytes, looks like PNG image)");
  Shows({}, std::string(1000, '\xFE'));
  EXPECT_EQ(Text(Run()), "(binary output: 1,000 bytes)");
  Shows({}, "na\xEFve text with one strange byte in it\n");
  EXPECT_THAT(Text(Run()), HasSubstr("strange byte"));
}

TEST_F(ProcessToolsTest, ValuesAreTextAndPicturesAreImages) {
  const std::string png = base64::Encode("\x89PNG");
  Shows({R"({"kind":"value","data":{"text/plain":"42","text/html":"<b>42</b>"}})"}, "printed\n");
  auto answer = Run();
  EXPECT_EQ(Text(answer), "printed\n42");
  EXPECT_THAT(last_, HasSubstr("structuredContent"));
  Shows({R"({"kind":"display","data":{"image/png":")" + png + R"(","text/plain":"<Figure>"}})"}, "printed\n");
  answer = Run();
  const json::Value& content = *json::Find(ResultOf(answer), "content");
  ASSERT_EQ(content.Size(), 2u);
  EXPECT_EQ(json::GetString(content[1], "data"), png);
  EXPECT_EQ(json::GetString(content[1], "mimeType"), "image/png");
  EXPECT_THAT(last_, Not(HasSubstr("structuredContent")))
      << "a model that is shown that alone would not see it";
  EXPECT_THAT(last_, Not(HasSubstr("<Figure>")));
}

TEST_F(ProcessToolsTest, ImagesBeyondTheBoundAreLeftOutAndTold) {
  const std::string large(900 << 10, 'A');
  std::vector<std::string> results(10, R"({"kind":"display","data":{"image/png":")" + large + R"("}})");
  results.emplace_back(R"({"kind":"display","data":{"image/png":"no base64!"}})");
  Shows(results);
  const auto answer = Run();
  EXPECT_LT(last_.size(), kMaxImages + (1 << 16));
  EXPECT_EQ(json::Find(ResultOf(answer), "content")->Size(), 1u + 9u);
  EXPECT_THAT(Text(answer), HasSubstr("2 results are left out"));
}

TEST_F(ProcessToolsTest, LostVariablesAreTold) {
  Shows({}, "",
        ProgramResult(
            0, R"(,"context":{"name":"default","executions":1,"new":true,"lost":"it ran out of memory"})"));
  EXPECT_EQ(Text(Run()), "[the variables of before are gone: it ran out of memory]");
}

TEST_F(ProcessToolsTest, AProcessStartsAndSaysItsHandle) {
  service_.OnDone(CSB_OP_PROCESS_START, Info());
  CallTool("1", "start_process", R"({"command":"serve"})");
  EXPECT_THAT(
      Text(Take()),
      HasSubstr("p_0123456789abcdef01234567: running for 2.5 s, 9 bytes of output\n[process_output("));
  EXPECT_EQ(Payload(), R"({"command":"serve"})");
  EXPECT_THAT(last_,
              HasSubstr(R"("structuredContent":{"handle":"p_0123456789abcdef01234567","state":"running")"));
}

TEST_F(ProcessToolsTest, OutputGoesOnWhereItEnded) {
  service_.OnDone(CSB_OP_PROCESS_OUTPUT, Info(R"(,"offset":0,"next_offset":6)"), "abc\xE2\x82");
  CallTool("1", "process_output", std::string(R"({"handle":")") + kHandle + R"(","wait":5})");
  EXPECT_THAT(Text(Take()), HasSubstr("abc\n[running for 2.5 s; 5 bytes more; go on with "
                                      "process_output(\"p_0123456789abcdef01234567\", offset=4)]"));
  EXPECT_THAT(Payload(), HasSubstr(R"("wait":5,"limit":30000})"));
  service_.OnDone(CSB_OP_PROCESS_OUTPUT, Info(R"(,"offset":9,"next_offset":9,"exit_code":3)", "exited"));
  CallTool("1", "read_output", std::string(R"({"handle":")") + kHandle + R"(","offset":9,"limit":99999999})");
  EXPECT_EQ(Text(Take()), "(nothing from there on)\n[exited with code 3 after 2.5 s]");
  EXPECT_THAT(Payload(), HasSubstr(R"("offset":9,"limit":1048576})"));
}

TEST_F(ProcessToolsTest, InputIsSentAsCreditComes) {
  Hold(CSB_OP_PROCESS_INPUT);
  CallTool("1", "write_stdin", std::string(R"({"handle":")") + kHandle + R"(","text":"yes\n","eof":true})");
  EXPECT_EQ(Payload(), std::string(R"({"handle":")") + kHandle + R"(","eof":true})");
  EXPECT_EQ(service_.requests().back().flags, CSB_REQUEST_INPUT);
  running_[0]->sink().InputCredit(100);
  EXPECT_EQ(running_[0]->input(), "yes\n");
  service_.OnDone(CSB_OP_PROCESS_INPUT, R"({"written":4})");
  Take();
  CallTool("2", "write_stdin", std::string(R"({"handle":")") + kHandle + R"(","text":"x"})");
  EXPECT_EQ(Text(Take()), "Wrote 4 bytes");
}

TEST_F(ProcessToolsTest, TheOthersAreMappedOneToOne) {
  service_.OnDone(CSB_OP_PROCESS_LIST,
                  R"({"processes":[)" + Info() + "," + Info(R"(,"exit_code":0)", "exited") + "]}");
  CallTool("1", "list_processes", "{}");
  EXPECT_EQ(Text(Take()),
            "p_0123456789abcdef01234567: running for 2.5 s: serve\n"
            "p_0123456789abcdef01234567: exited with code 0 after 2.5 s: serve");
  service_.OnDone(CSB_OP_PROCESS_LIST, R"({"processes":[]})");
  CallTool("1", "list_processes", "{}");
  EXPECT_EQ(Text(Take()), "(no processes)");
  service_.OnDone(CSB_OP_PROCESS_SIGNAL, Info());
  CallTool("1", "signal", std::string(R"({"handle":")") + kHandle + R"(","signal":"INT"})");
  Take();
  EXPECT_THAT(Payload(), HasSubstr(R"("signal":"INT"})"));
  service_.OnDone(CSB_OP_PROCESS_WAIT, Info(R"(,"exit_code":9,"message":"killed")", "exited"));
  CallTool("1", "wait", std::string(R"({"handle":")") + kHandle + R"(","timeout":1})");
  EXPECT_THAT(Text(Take()), HasSubstr("exited with code 9 (killed) after 2.5 s"));
  service_.OnDone(CSB_OP_CONTEXT_DELETE, R"({"status":"deleted"})");
  CallTool("1", "reset_python", "{}");
  EXPECT_THAT(Text(Take()), HasSubstr("has ended"));
  EXPECT_EQ(Payload(), R"({"name":"default"})");
}

TEST_F(ProcessToolsTest, AnUnknownHandleIsAResultThatSaysWhatToDo) {
  service_.OnError(CSB_OP_PROCESS_WAIT, {CSB_E_NOT_FOUND, "no process p_1", "list processes", false});
  CallTool("1", "wait", R"({"handle":"p_1"})");
  const auto answer = Take();
  EXPECT_TRUE(IsError(answer));
  EXPECT_EQ(Text(answer), "no process p_1\nlist processes");
}

}  // namespace
}  // namespace csb::mcp::testing
