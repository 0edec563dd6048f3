// SPDX-License-Identifier: Apache-2.0
//
// The tools: what the list says, what each call asks of the service, what it answers.
#include "plugins/mcp/tools.h"

#include <set>

#include "plugins/common/base64.h"
#include "plugins/mcp/session_testing.h"
#include "plugins/mcp/tool_answer.h"

namespace csb::mcp::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ToolTest : public SessionTest {
 protected:
  ToolTest() { Initialize(); }
  // Calls and returns the payload the service got.
  json::Document PayloadOf(const std::string& tool, const std::string& arguments) {
    const size_t before = service_.requests().size();
    CallTool("1", tool, arguments);
    Take();
    const auto requests = service_.requests();
    EXPECT_EQ(requests.size(), before + 1) << last_;
    return *json::Parse(requests.empty() ? "{}" : requests.back().payload);
  }
  void Structured(const json::Document& answer, std::set<std::string> names) {
    const json::Value* structured = json::Find(ResultOf(answer), "structuredContent");
    ASSERT_NE(structured, nullptr) << last_;
    std::set<std::string> have;
    for (const auto& member : structured->GetObject()) have.insert(member.name.GetString());
    EXPECT_EQ(have, names);
  }
};

TEST_F(ToolTest, ListNamesThemInOrder) {
  Say(R"({"jsonrpc":"2.0","id":1,"method":"tools/list"})");
  const auto answer = Take();
  const json::Value& tools = *json::Find(ResultOf(answer), "tools");
  std::vector<std::string> names;
  for (const auto& tool : tools.GetArray()) {
    names.emplace_back(*json::GetString(tool, "name"));
    EXPECT_LE(names.back().size(), 24u);
    const json::Value& schema = *json::Find(tool, "inputSchema");
    EXPECT_EQ(json::GetString(schema, "type"), "object");
    for (const char* no : {"oneOf", "anyOf", "allOf", "if"}) EXPECT_FALSE(schema.HasMember(no));
    EXPECT_TRUE(json::Find(*json::Find(schema, "properties"), "user_id"));
    const json::Value& annotations = *json::Find(tool, "annotations");
    for (const char* hint : {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"})
      EXPECT_TRUE(json::GetBool(annotations, hint)) << names.back() << " " << hint;
    if (const json::Value* output = json::Find(tool, "outputSchema")) {
      EXPECT_EQ(json::GetString(*output, "type"), "object");
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"execute_python", "run_shell", "install_package", "read_file",
                                             "write_file", "list_files", "unzip_file", "start_process",
                                             "process_output", "write_stdin", "signal", "list_processes",
                                             "wait", "read_output", "reset_python"}));
  EXPECT_THAT(last_, Not(HasSubstr("python_code"))) << "aliases are not listed";
}

TEST_F(ToolTest, OlderRevisionsGetNothingTheyDoNotKnow) {
  Open({});
  Initialize("2024-11-05");
  Say(R"({"jsonrpc":"2.0","id":1,"method":"tools/list"})");
  Take();
  for (const char* newer : {"annotations", "outputSchema", "\"title\""})
    EXPECT_THAT(last_, Not(HasSubstr(newer)));
  service_.OnDone(CSB_OP_SHELL, ProgramResult(0), "hi\n");
  CallTool("2", "run_shell", R"({"command":"x"})");
  EXPECT_EQ(Text(Take()), "hi\n");
  EXPECT_THAT(last_, Not(HasSubstr("structuredContent")));
}

TEST_F(ToolTest, ArgumentsAndTheirOtherNamesBecomeThePayload) {
  const struct {
    const char *tool, *arguments, *member, *value;
  } kCases[] = {
      {"execute_python", R"({"code":"a"})", "code", "a"},
      {"execute_python", R"({"python_code":"b"})", "code", "b"},
      {"execute_python", R"({"script":"c"})", "code", "c"},
      {"execute_python", R"({"script":"no","code":"d","description":"why"})", "code", "d"},
      {"run_shell", R"({"cmd":"ls"})", "command", "ls"},
      {"install_package", R"({"name":"numpy"})", "package", "numpy"},
      {"read_file", R"({"file_path":"f"})", "path", "f"},
      {"read_file", R"({"filename":"g"})", "path", "g"},
      {"list_files", R"({"directory":"d"})", "path", "d"},
      {"unzip_file", R"({"archive":"a.zip","dest":"out"})", "destination", "out"},
      {"unzip_file", R"({"archive":"a.zip","dest":"out"})", "path", "a.zip"},
      {"write_file", R"({"filename":"f","text":"t"})", "path", "f"},
  };
  for (const auto& c : kCases)
    EXPECT_EQ(json::GetString(PayloadOf(c.tool, c.arguments), c.member), c.value) << c.tool << c.arguments;
  EXPECT_EQ(json::GetInt(PayloadOf("run_shell", R"({"command":"x","timeout":7})"), "timeout"), 7);
}

TEST_F(ToolTest, WrongArgumentsAreResultsThatNameThem) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"({})", "command: is required"},
      {R"({"command":null})", "command: is required"},
      {R"({"command":5})", "command: a string is expected"},
      {R"({"command":"x","timeout":"soon"})", "timeout: a number is expected"},
      {R"({"command":"x","user_id":7})", "user_id: a string is expected"},
  };
  for (const auto& [arguments, message] : kCases) {
    CallTool("1", "run_shell", arguments);
    const auto answer = Take();
    EXPECT_TRUE(IsError(answer));
    EXPECT_EQ(Text(answer), message);
  }
  EXPECT_TRUE(service_.requests().empty());
}

TEST_F(ToolTest, WhatTheServiceRefusesIsAResultWithItsHint) {
  service_.OnError(CSB_OP_SHELL,
                   {CSB_E_UNAVAILABLE, "Docker daemon not running", "sudo systemctl start docker", true});
  CallTool("1", "run_shell", R"({"command":"x"})");
  const auto answer = Take();
  EXPECT_TRUE(IsError(answer));
  EXPECT_EQ(Text(answer), "Docker daemon not running\nsudo systemctl start docker");
  // An operation the fake has no script for is refused by submit itself.
  CallTool("2", "list_files", "{}");
  EXPECT_TRUE(IsError(Take()));
}

TEST_F(ToolTest, UserIsTheServersUnlessTheCallNamesOne) {
  Open({.user = "clara"});
  CallTool("1", "run_shell", R"({"command":"x"})");
  Take();
  CallTool("2", "run_shell", R"({"command":"x","user_id":"bob"})");
  Take();
  ASSERT_EQ(service_.requests().size(), 2u);
  EXPECT_EQ(service_.requests()[0].user, "clara");
  EXPECT_EQ(service_.requests()[1].user, "bob");
}

TEST_F(ToolTest, ABoundServerRefusesOtherUsers) {
  Open({.user = "clara", .only = true});
  CallTool("1", "run_shell", R"({"command":"x","user_id":"bob"})");
  const auto answer = Take();
  EXPECT_TRUE(IsError(answer));
  EXPECT_THAT(Text(answer), HasSubstr("serves clara only"));
  EXPECT_TRUE(service_.requests().empty());
  CallTool("2", "run_shell", R"({"command":"x","user_id":"clara"})");
  Take();
  EXPECT_EQ(service_.requests().size(), 1u);
}

TEST_F(ToolTest, RunShowsOutputAndStructure) {
  service_.OnDone(CSB_OP_EXECUTE, ProgramResult(0), "42\n");
  CallTool("1", "execute_python", R"({"code":"x"})");
  const auto answer = Take();
  EXPECT_FALSE(IsError(answer));
  EXPECT_EQ(Text(answer), "42\n");
  Structured(answer, {"success", "output", "exit_code"});
}

TEST_F(ToolTest, FailedRunIsAnErrorResultThatKeepsItsOutput) {
  service_.On(CSB_OP_SHELL, [](const RequestView&, EventSink sink) {
    sink.Output(CSB_STREAM_STDOUT, "part");
    sink.Output(CSB_STREAM_STDERR, "boom\n");
    sink.Done(R"({"exit_code":124,"cause":"deadline","execution_time":5,"stdout_bytes":4,"stderr_bytes":5,)"
              R"("message":"Execution timed out after 5 s","hint":"raise the timeout"})");
    return FakeService::NoOperation();
  });
  CallTool("1", "run_shell", R"({"command":"x"})");
  const auto answer = Take();
  EXPECT_TRUE(IsError(answer));
  EXPECT_EQ(Text(answer), "partboom\n[Execution timed out after 5 s; raise the timeout]\n[exit code 124]");
  EXPECT_THAT(last_, HasSubstr(R"("timed_out":true)"));
  Structured(answer, {"success", "output", "exit_code", "message", "execution_time", "timed_out"});
}

TEST_F(ToolTest, LostSandboxKeepsWhatWasPrinted) {
  service_.On(CSB_OP_SHELL, [](const RequestView&, EventSink sink) {
    sink.Output(CSB_STREAM_STDOUT, "so far");
    sink.Fail({CSB_E_GONE, "the sandbox ended", "", false});
    return FakeService::NoOperation();
  });
  CallTool("1", "run_shell", R"({"command":"x"})");
  const auto answer = Take();
  EXPECT_TRUE(IsError(answer));
  EXPECT_EQ(Text(answer), "the sandbox ended\n[output until then]\nso far");
}

TEST_F(ToolTest, LongOutputIsBoundedAndSaysHowMuchIsMissing) {
  Open({.max_output = 1000});
  service_.On(CSB_OP_SHELL, [](const RequestView& request, EventSink sink) {
    auto payload = json::ParseObject(request.payload);
    const json::Value* output = json::Find(*payload, "output");
    EXPECT_EQ(json::GetInt(*output, "head"), 1000);
    EXPECT_EQ(json::GetInt(*output, "tail"), 1000);
    sink.Output(CSB_STREAM_STDOUT, std::string(50'000, 'x'));  // one that does not heed it
    sink.Done(ProgramResult(0));
    return FakeService::NoOperation();
  });
  CallTool("1", "run_shell", R"({"command":"x"})");
  const auto answer = Take();
  EXPECT_LT(Text(answer).size(), 1400u);
  EXPECT_THAT(Text(answer), HasSubstr("\n… 49,000 bytes omitted …\n"));
  EXPECT_THAT(Text(answer), HasSubstr("read_file with offset"));
  EXPECT_THAT(last_, HasSubstr(R"("truncated":true)"));
}

TEST_F(ToolTest, WriteSendsItsContentAsCreditComes) {
  Hold(CSB_OP_FILE_WRITE);
  CallTool("1", "write_file", R"({"path":"f","content":"hello \u20ac world"})");
  ASSERT_EQ(running_.size(), 1u);
  EXPECT_EQ(service_.requests()[0].flags, CSB_REQUEST_INPUT);
  while (running_[0]->input().size() < 15) running_[0]->sink().InputCredit(4);
  EXPECT_EQ(running_[0]->input(), "hello € world");
  const auto answer = Take();
  EXPECT_EQ(Text(answer), "Wrote 15 bytes to /workspace/f");
  Structured(answer, {"path", "size"});
}

TEST_F(ToolTest, EmptyFileCanBeWritten) {
  Hold(CSB_OP_FILE_WRITE);
  CallTool("1", "write_file", R"({"path":"f","content":""})");
  running_[0]->sink().InputCredit(1000);
  EXPECT_EQ(Text(Take()), "Wrote 0 bytes to /workspace/f");
}

TEST_F(ToolTest, AWholeNumberMayBeWrittenWithAPoint) {
  const Tool& tool = *FindTool("read_file");
  for (const auto& [given, sent] :
       {std::pair("1000.0", "1000"), {"-4.0", "-4"}, {"1e3", "1000"}, {"7", "7"}}) {
    const auto arguments = json::Parse(R"({"path":"f","offset":)" + std::string(given) + "}");
    const auto request = MakeRequest(tool, &*arguments, {});
    ASSERT_TRUE(request) << given;
    EXPECT_THAT(request->payload, HasSubstr(R"("offset":)" + std::string(sent) + "}")) << given;
  }
  for (const char* given : {"1.5", "1e300", "true", "\"3\""}) {
    const auto arguments = json::Parse(R"({"path":"f","offset":)" + std::string(given) + "}");
    const auto request = MakeRequest(tool, &*arguments, {});
    ASSERT_FALSE(request) << given;
    EXPECT_EQ(request.error().message, "offset: an integer is expected");
  }
}

class ReadTest : public ToolTest {
 protected:
  // What read_file answers for a file with this content, on a backend that heeds credit.
  json::Document Read(const std::string& content, size_t max_output,
                      const std::string& arguments = R"({"path":"f"})") {
    Open({.max_output = max_output});
    Initialize();
    Hold(CSB_OP_FILE_READ);
    CallTool("1", "read_file", arguments);
    const auto op = running_.back();
    const std::string meta = R"({"path":"/workspace/f","size":)" + std::to_string(content.size()) +
                             R"(,"offset":0,"length":)" + std::to_string(content.size()) + "}";
    op->sink().Event(CSB_EVENT_META, meta);
    size_t sent = 0;
    while (sent < content.size() && !op->sink().finished()) {
      const size_t n = op->sink().Output(CSB_STREAM_DATA, std::string_view(content).substr(sent, 1000));
      if (n == 0) {
        ADD_FAILURE() << "no credit at " << sent;
        break;
      }
      sent += n;
    }
    op->sink().Done(meta);
    return Take();
  }
};

TEST_F(ReadTest, TextIsText) {
  const auto answer = Read("line 1\nline 2 €\n", 1000);
  EXPECT_FALSE(IsError(answer));
  EXPECT_EQ(Text(answer), "line 1\nline 2 €\n");
  EXPECT_EQ(Text(Read("", 1000)), "");
}

TEST_F(ReadTest, OfALargeFileTheBeginningAndWhereToReadOn) {
  const auto answer = Read(std::string(5000, 'a'), 1000);
  EXPECT_THAT(Text(answer), HasSubstr(std::string(1000, 'a') + "\n[… 4000 bytes dropped …]"));
  EXPECT_THAT(Text(answer), HasSubstr("has 5000 bytes; read on with offset 1000"));
  EXPECT_TRUE(running_.back()->cancelled()) << "the rest is not read at all";
}

TEST_F(ReadTest, ACutDoesNotSplitACharacter) {
  std::string euros;
  for (int i = 0; i < 1000; ++i) euros += "€";
  EXPECT_THAT(Text(Read(euros, 1000)), HasSubstr("read on with offset 999]"));
}

TEST_F(ReadTest, BytesAreBase64) {
  const auto answer = Read(std::string("\x00\xFF\xFE\x01", 4), 1000);
  EXPECT_THAT(Text(answer), HasSubstr("not UTF-8 text; 4 bytes as base64]\nAP/+AQ=="));
}

TEST_F(ReadTest, ImagesAreImagesWholeOrNotAtAll) {
  const std::string png = "\x89PNG\r\n\x1a\n" + std::string(20'000, '\x07');
  const auto answer = Read(png, 1000);
  const json::Value& content = (*json::Find(ResultOf(answer), "content"))[0];
  EXPECT_EQ(json::GetString(content, "type"), "image");
  EXPECT_EQ(json::GetString(content, "mimeType"), "image/png");
  EXPECT_EQ(json::GetString(content, "data"), base64::Encode(png));
  EXPECT_FALSE(json::Find(ResultOf(answer), "structuredContent"));
  const auto large = Read(png + std::string(kMaxImage, 'x'), 1000);
  EXPECT_THAT(Text(large), HasSubstr("not UTF-8 text"));
}

TEST_F(ToolTest, ListShowsTextAndEntries) {
  service_.OnDone(CSB_OP_FILE_LIST,
                  R"({"path":"/workspace","text":"-rw-r--r-- 1 user 5 f\n","truncated":false,)"
                  R"("entries":[{"name":"f","type":"file","size":5,"mode":"0644","mtime":""}]})");
  CallTool("1", "list_files", "{}");
  const auto answer = Take();
  EXPECT_EQ(Text(answer), "-rw-r--r-- 1 user 5 f\n");
  Structured(answer, {"path", "entries", "truncated"});
}

TEST_F(ToolTest, LongListIsBoundedAndSaysSo) {
  std::string entries, text;
  for (int i = 0; i < 1000; ++i) {
    entries +=
        (i == 0 ? "" : ",") + (R"({"name":"file)" + std::to_string(i) + R"(","type":"file","size":1})");
    text += "file" + std::to_string(i) + "\n";
  }
  Open({.max_output = 1000});
  Initialize();
  service_.OnDone(CSB_OP_FILE_LIST,
                  R"({"path":"/w","text":")" + std::string(10, 'x') + R"(","entries":[)" + entries + "]}");
  CallTool("1", "list_files", "{}");
  const auto answer = Take();
  EXPECT_LT(last_.size(), 2500u);
  EXPECT_THAT(last_, HasSubstr(R"("truncated":true)"));
  EXPECT_THAT(Text(answer), HasSubstr("more entries"));
}

TEST_F(ToolTest, ABackendThatAnswersNonsenseIsAnErrorResult) {
  for (const auto& [op, tool, arguments] :
       {std::tuple{CSB_OP_SHELL, "run_shell", R"({"command":"x"})"},
        {CSB_OP_FILE_LIST, "list_files", "{}"},
        {CSB_OP_FILE_WRITE, "write_file", R"({"path":"f","content":""})"}}) {
    service_.OnDone(op, "{}");
    CallTool("1", tool, arguments);
    EXPECT_TRUE(IsError(Take())) << tool;
  }
}

}  // namespace
}  // namespace csb::mcp::testing
