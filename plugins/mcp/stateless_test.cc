// SPDX-License-Identifier: Apache-2.0
//
// The era without initialize, beside the one with it: what each request must say, and what each result has.
#include "plugins/mcp/session_testing.h"

namespace csb::mcp::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class StatelessTest : public SessionTest {
 protected:
  static std::string Request(const std::string& method, const std::string& more = "",
                             const std::string& version = "2026-07-28") {
    return R"({"jsonrpc":"2.0","id":1,"method":")" + method +
           R"(","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":")" + version +
           R"(","io.modelcontextprotocol/clientCapabilities":{}})" + more + "}}";
  }
};

TEST_F(StatelessTest, DiscoverTellsWhatThereIs) {
  Say(Request("server/discover"));
  const auto answer = Take();
  const json::Value& result = ResultOf(answer);
  EXPECT_EQ(json::GetString(result, "resultType"), "complete");
  EXPECT_EQ((*json::Find(result, "supportedVersions"))[0], "2026-07-28");
  EXPECT_NE(json::Find(*json::Find(result, "capabilities"), "tools"), nullptr);
  EXPECT_GE(json::GetInt(result, "ttlMs").value_or(-1), 0);
  EXPECT_EQ(json::GetString(result, "cacheScope"), "public");
  const json::Value& info = *json::Find(*json::Find(result, "_meta"), "io.modelcontextprotocol/serverInfo");
  EXPECT_EQ(json::GetString(info, "name"), "clara-sandbox");
  EXPECT_TRUE(service_.requests().empty());
}

TEST_F(StatelessTest, BothErasOnOneConnection) {
  service_.OnDone(CSB_OP_SHELL, ProgramResult(0), "hi\n");
  const std::string shell = R"(,"name":"run_shell","arguments":{"command":"x"})";
  Say(Request("server/discover"));
  Take();
  Initialize("2025-06-18");
  Say(Request("tools/call", shell));
  EXPECT_EQ(Text(Take()), "hi\n");
  EXPECT_THAT(last_, HasSubstr(R"("resultType":"complete")"));
  CallTool("2", "run_shell", R"({"command":"x"})");
  EXPECT_EQ(Text(Take()), "hi\n");
  EXPECT_THAT(last_, Not(HasSubstr("resultType")));
  Say(Request("tools/list"));
  EXPECT_EQ(json::GetString(ResultOf(Take()), "cacheScope"), "public");
}

TEST_F(StatelessTest, WhatMetaMustSay) {
  for (const char* meta : {"{}", R"({"io.modelcontextprotocol/clientCapabilities":{}})",
                           R"({"io.modelcontextprotocol/protocolVersion":"2026-07-28"})",
                           R"({"io.modelcontextprotocol/protocolVersion":5,)"
                           R"("io.modelcontextprotocol/clientCapabilities":{}})",
                           R"({"io.modelcontextprotocol/protocolVersion":"2026-07-28",)"
                           R"("io.modelcontextprotocol/clientCapabilities":7})"}) {
    Say(R"({"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":)" + std::string(meta) +
        "}}");
    EXPECT_EQ(Code(Take()), -32602) << meta;
    EXPECT_EQ(statuses_.back(), 400) << meta;
  }
  Say(Request("tools/list", "", "v999"));
  EXPECT_EQ(Code(Take()), -32022);
  EXPECT_THAT(last_, HasSubstr(R"("data":{"supported":["2026-07-28"],"requested":"v999"})"));
  Say(Request("tools/list", "", "2025-11-25"));
  EXPECT_EQ(Code(Take()), -32022) << "that one begins with initialize";
}

TEST_F(StatelessTest, WhatThisEraTookAway) {
  for (const char* method : {"initialize", "ping", "logging/setLevel", "resources/subscribe",
                             "resources/unsubscribe", "prompts/list"}) {
    Say(Request(method));
    EXPECT_EQ(Code(Take()), -32601) << method;
    EXPECT_EQ(statuses_.back(), 404) << method;
  }
  Initialize();
  Say(R"({"jsonrpc":"2.0","id":1,"method":"server/discover"})");
  EXPECT_EQ(Code(Take()), -32601) << "in the era before";
  Say(R"({"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{}}})");
  EXPECT_EQ(Code(Take()), -32601) << "in the era before";
}

TEST_F(StatelessTest, ACancelledCallIsEndedHereToo) {
  Hold(CSB_OP_SHELL);
  Say(Request("tools/call", R"(,"name":"run_shell","arguments":{"command":"x"})"));
  Say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}})");
  ASSERT_EQ(running_.size(), 1u);
  EXPECT_TRUE(running_[0]->cancelled());
  EXPECT_TRUE(Silent());
}

}  // namespace
}  // namespace csb::mcp::testing
