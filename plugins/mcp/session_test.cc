// SPDX-License-Identifier: Apache-2.0
//
// The conversation: versions, malformed messages, ids, cancellation, progress.
#include "plugins/mcp/session.h"

#include "plugins/mcp/session_testing.h"

namespace csb::mcp::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

TEST_F(SessionTest, InitializeEchoesAVersionItServes) {
  for (const char* revision : {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}) {
    Open({});
    Say(R"({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":")" +
        std::string(revision) + R"("}})");
    const auto answer = Take();
    EXPECT_EQ(json::GetString(ResultOf(answer), "protocolVersion"), revision);
    EXPECT_EQ(json::GetString(*json::Find(ResultOf(answer), "serverInfo"), "name"), "clara-sandbox");
    EXPECT_NE(json::Find(*json::Find(ResultOf(answer), "capabilities"), "tools"), nullptr);
  }
  EXPECT_TRUE(service_.requests().empty()) << "starting makes no sandbox";
}

TEST_F(SessionTest, InitializeAnswersTheNewestToAnUnknownVersion) {
  Say(R"({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2031-01-01"}})");
  EXPECT_EQ(json::GetString(ResultOf(Take()), "protocolVersion"), "2025-11-25");
}

TEST_F(SessionTest, InitializeIsNeverRefused) {
  for (const char* params : {"", R"(,"params":{})", R"(,"params":{"protocolVersion":5})"}) {
    Say(R"({"jsonrpc":"2.0","id":1,"method":"initialize")" + std::string(params) + "}");
    EXPECT_EQ(json::GetString(ResultOf(Take()), "protocolVersion"), "2025-11-25") << params;
  }
}

TEST_F(SessionTest, PingAndUnknownMethods) {
  Say(R"({"jsonrpc":"2.0","id":"p","method":"ping"})");
  EXPECT_EQ(json::ToString(ResultOf(Take())), "{}");
  Say(R"({"jsonrpc":"2.0","id":2,"method":"prompts/list"})");
  EXPECT_EQ(Code(Take()), -32601);
  Say(R"({"jsonrpc":"2.0","method":"notifications/none"})");
  Say(R"({"jsonrpc":"2.0","id":9,"result":{}})");
  EXPECT_TRUE(Silent());
}

struct Bad {
  const char* name;
  std::string text;
  int code;
  bool has_id;
};
class BadMessageTest : public SessionTest, public ::testing::WithParamInterface<Bad> {};
TEST_P(BadMessageTest, IsAnsweredAndTheNextIsServed) {
  Initialize();
  Say(GetParam().text);
  const auto answer = Take();
  EXPECT_EQ(Code(answer), GetParam().code) << last_;
  EXPECT_EQ(answer.HasMember("id"), GetParam().has_id) << last_;
  if (answer.HasMember("id")) {
    EXPECT_FALSE(answer["id"].IsNull());
  }
  Say(R"({"jsonrpc":"2.0","id":77,"method":"ping"})");
  EXPECT_EQ(json::GetInt(Take(), "id"), 77);
}
INSTANTIATE_TEST_SUITE_P(
    , BadMessageTest,
    ::testing::Values(
        Bad{"Empty", "", -32700, false}, Bad{"NotJson", "hello", -32700, false},
        Bad{"Truncated", R"({"jsonrpc":"2.0","id":1,"method":"pi)", -32700, false},
        Bad{"InvalidUtf8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xFF\"}", -32700, false},
        Bad{"DeepArrays", std::string(100'000, '['), -32700, false},
        Bad{"DeepArguments",
            R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run_shell","arguments":)" +
                std::string(100'000, '[') + std::string(100'000, ']') + "}}",
            -32700, false},
        Bad{"Number", "17", -32600, false}, Bad{"String", R"("ping")", -32600, false},
        Bad{"NoVersion", R"({"id":1,"method":"ping"})", -32600, true},
        Bad{"OldVersion", R"({"jsonrpc":"1.0","id":1,"method":"ping"})", -32600, true},
        Bad{"NullId", R"({"jsonrpc":"2.0","id":null,"method":"ping"})", -32600, false},
        Bad{"FractionId", R"({"jsonrpc":"2.0","id":1.5,"method":"ping"})", -32600, false},
        Bad{"ObjectId", R"({"jsonrpc":"2.0","id":{},"method":"ping"})", -32600, false},
        Bad{"HugeId", R"({"jsonrpc":"2.0","id":")" + std::string(5000, 'i') + R"(","method":"ping"})", -32600,
            false},
        Bad{"NoMethod", R"({"jsonrpc":"2.0","id":1})", -32600, true},
        Bad{"MethodNumber", R"({"jsonrpc":"2.0","id":1,"method":5})", -32600, true},
        Bad{"ParamsArray", R"({"jsonrpc":"2.0","id":1,"method":"ping","params":[1]})", -32602, true},
        Bad{"Batch", R"([{"jsonrpc":"2.0","id":1,"method":"ping"}])", -32600, false},
        Bad{"CallWithoutName", R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}})", -32602, true},
        Bad{"CallUnknownTool", R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"}})",
            -32602, true},
        Bad{"CallArgumentsArray",
            R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run_shell","arguments":[]}})",
            -32602, true},
        Bad{"ListCursor", R"({"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}})", -32602,
            true}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(SessionTest, BatchesOfTheOneRevisionThatHasThem) {
  Initialize("2025-03-26");
  service_.OnDone(CSB_OP_SHELL, ProgramResult(0), "hi\n");
  Say(R"([{"jsonrpc":"2.0","id":1,"method":"ping"},)"
      R"({"jsonrpc":"2.0","method":"notifications/x"},)"
      R"({"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"run_shell","arguments":{"command":"x"}}},)"
      R"(5,{"jsonrpc":"2.0","id":3,"method":"none"}])");
  const auto answers = Take();
  ASSERT_TRUE(answers.IsArray()) << last_;
  EXPECT_EQ(answers.Size(), 4u) << last_;
  Say("[]");
  EXPECT_EQ(Code(Take()), -32600);
  Say(R"([{"jsonrpc":"2.0","method":"notifications/x"}])");
  EXPECT_TRUE(Silent());
}

TEST_F(SessionTest, CancelledCallInABatchDoesNotHoldTheOthersBack) {
  Initialize("2025-03-26");
  Hold(CSB_OP_SHELL);
  Say(R"([{"jsonrpc":"2.0","id":1,"method":"ping"},)"
      R"({"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"run_shell","arguments":{"command":"x"}}}])");
  EXPECT_TRUE(Silent());
  Say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}})");
  const auto answers = Take();
  ASSERT_TRUE(answers.IsArray());
  EXPECT_EQ(answers.Size(), 1u);
}

TEST_F(SessionTest, CancelledCallIsEndedAndSendsNothingFurther) {
  Initialize();
  Hold(CSB_OP_EXECUTE);
  CallTool("5", "execute_python", R"({"code":"x"})", R"({"progressToken":1})");
  Say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5,"reason":"enough"}})");
  ASSERT_EQ(running_.size(), 1u);
  EXPECT_TRUE(running_[0]->cancelled());
  running_[0]->sink().Output(CSB_STREAM_STDOUT, "late");
  EXPECT_TRUE(Silent());
  // Its id may be used again, and an unknown or strange one does no harm.
  Say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}})");
  Say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}})");
  Say(R"({"jsonrpc":"2.0","method":"notifications/cancelled"})");
  CallTool("5", "execute_python", R"({"code":"x"})");
  running_[1]->sink().Done(ProgramResult(0));
  EXPECT_EQ(json::GetInt(Take(), "id"), 5);
}

TEST_F(SessionTest, StringAndNumberIdsAreDifferentRequests) {
  Initialize();
  Hold(CSB_OP_SHELL);
  CallTool("1", "run_shell", R"({"command":"x"})");
  CallTool(R"("1")", "run_shell", R"({"command":"x"})");
  ASSERT_EQ(running_.size(), 2u);
  running_[1]->sink().Done(ProgramResult(0));
  EXPECT_TRUE(Take()["id"].IsString());
  running_[0]->sink().Done(ProgramResult(0));
  EXPECT_TRUE(Take()["id"].IsInt());
}

TEST_F(SessionTest, DuplicateIdIsRefusedAndTheFirstCallUnharmed) {
  Initialize();
  Hold(CSB_OP_SHELL);
  CallTool("1", "run_shell", R"({"command":"x"})");
  CallTool("1", "run_shell", R"({"command":"y"})");
  const auto refused = Take();
  EXPECT_EQ(Code(refused), -32600);
  EXPECT_FALSE(refused.HasMember("id"));
  ASSERT_EQ(running_.size(), 1u);
  running_[0]->sink().Done(ProgramResult(0));
  EXPECT_EQ(json::GetInt(Take(), "id"), 1);
}

TEST_F(SessionTest, CallsRunSideBySide) {
  Initialize();
  Hold(CSB_OP_SHELL);
  for (int i = 0; i < 10; ++i) CallTool(std::to_string(i), "run_shell", R"({"command":"x"})");
  ASSERT_EQ(running_.size(), 10u);
  for (int i = 9; i >= 0; --i) {
    running_[static_cast<size_t>(i)]->sink().Done(ProgramResult(0));
    EXPECT_EQ(json::GetInt(Take(), "id"), i);
  }
}

TEST_F(SessionTest, TooManyCallsAreRefused) {
  Initialize();
  Hold(CSB_OP_SHELL);
  for (size_t i = 0; i < McpSession::kMaxCalls; ++i)
    CallTool(std::to_string(i), "run_shell", R"({"command":"x"})");
  EXPECT_TRUE(Silent());
  CallTool("9999", "run_shell", R"({"command":"x"})");
  EXPECT_EQ(Code(Take()), -32000);
  EXPECT_EQ(running_.size(), McpSession::kMaxCalls);
}

TEST_F(SessionTest, ProgressRisesStopsAtTheEndAndComesForATokenOnly) {
  Initialize();
  Hold(CSB_OP_PIP_INSTALL);
  CallTool("1", "install_package", R"({"package":"x"})", R"({"progressToken":"tok"})");
  CallTool("2", "install_package", R"({"package":"x"})");
  ASSERT_TRUE(session_->NextWake());
  double last = 0;
  auto now = McpSession::Clock::now();
  for (int i = 0; i < 3; ++i) {
    now += McpSession::kHeartbeat + 1ms;
    session_->OnTime(now);
    const auto progress = Take();
    EXPECT_EQ(json::GetString(progress, "method"), "notifications/progress");
    const json::Value& params = *json::Find(progress, "params");
    EXPECT_EQ(json::GetString(params, "progressToken"), "tok");
    EXPECT_GT(*json::GetNumber(params, "progress"), last);
    last = *json::GetNumber(params, "progress");
    EXPECT_TRUE(json::GetString(params, "message"));
  }
  EXPECT_TRUE(Silent()) << "one each";
  running_[0]->sink().Done(ProgramResult(0));
  EXPECT_EQ(json::GetInt(Take(), "id"), 1);
  session_->OnTime(now + 1h);
  EXPECT_TRUE(Silent());
  EXPECT_FALSE(session_->NextWake());
}

TEST_F(SessionTest, ProgressShowsTheLastLineOfOutput) {
  Initialize();
  Hold(CSB_OP_PIP_INSTALL);
  CallTool("1", "install_package", R"({"package":"x"})", R"({"progressToken":7})");
  std::this_thread::sleep_for(McpSession::kProgressGap + 10ms);
  running_[0]->sink().Output(CSB_STREAM_STDOUT, "Collecting numpy\nDownloading \xFF numpy.whl\n");
  const auto progress = Take();
  const json::Value& params = *json::Find(progress, "params");
  EXPECT_EQ(json::GetInt(params, "progressToken"), 7);
  EXPECT_EQ(json::GetString(params, "message"), "Downloading \xEF\xBF\xBD numpy.whl");
  for (int i = 0; i < 3; ++i) running_[0]->sink().Output(CSB_STREAM_STDOUT, "more\n");
  EXPECT_TRUE(Silent()) << "at most four a second";
}

TEST_F(SessionTest, TheOldestRevisionHasNoProgressMessage) {
  Initialize("2024-11-05");
  Hold(CSB_OP_SHELL);
  CallTool("1", "run_shell", R"({"command":"x"})", R"({"progressToken":1})");
  session_->OnTime(McpSession::Clock::now() + 1h);
  EXPECT_FALSE(json::Find(*json::Find(Take(), "params"), "message"));
}

TEST_F(SessionTest, AClientThatIsGoneHasItsCallsEndedAndHearsNothing) {
  Initialize();
  Hold(CSB_OP_SHELL);
  CallTool("1", "run_shell", R"({"command":"x"})");
  session_->CancelAll();
  EXPECT_TRUE(running_[0]->cancelled());
  Say(R"({"jsonrpc":"2.0","id":2,"method":"ping"})");
  EXPECT_TRUE(Silent());
}

TEST_F(SessionTest, SessionMayGoWhileCallsRun) {
  Initialize();
  Hold(CSB_OP_SHELL);
  CallTool("1", "run_shell", R"({"command":"x"})");
  session_.reset();
  EXPECT_TRUE(running_[0]->cancelled());
  EXPECT_TRUE(Silent());
}

}  // namespace
}  // namespace csb::mcp::testing
