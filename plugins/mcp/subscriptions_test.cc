// SPDX-License-Identifier: Apache-2.0
//
// Files that clients want to hear of, in both eras.
#include <map>

#include "plugins/mcp/session_testing.h"

namespace csb::mcp::testing {
namespace {

using ::testing::HasSubstr;

constexpr char kModernMeta[] = R"("_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",)"
                               R"("io.modelcontextprotocol/clientCapabilities":{}})";

class SubscriptionsTest : public SessionTest {
 protected:
  SubscriptionsTest() {
    service_.On(CSB_OP_FILE_STAT, [this](const RequestView& request, EventSink sink) {
      const auto payload = json::ParseObject(request.payload);
      const std::string path(json::GetString(*payload, "path").value_or(""));
      const std::lock_guard lock(files_mutex_);
      ++looks_;
      if (!files_.contains(path))
        sink.Fail({CSB_E_NOT_FOUND, "File not found: " + path, "", false});
      else
        sink.Done(R"({"name":"x","type":"file","size":)" + std::to_string(files_[path]) + R"(,"mtime":"t"})");
      return FakeService::NoOperation();
    });
    service_.OnDone(CSB_OP_PROCESS_LIST, R"({"processes":[]})");
  }
  void Have(const std::string& path, int size) {
    const std::lock_guard lock(files_mutex_);
    files_[path] = size;
  }
  int looks() {
    const std::lock_guard lock(files_mutex_);
    return looks_;
  }
  // A call of any tool, and its answer.
  void Work(const std::string& meta = "") {
    Say(R"({"jsonrpc":"2.0","id":"work","method":"tools/call","params":{"name":"list_processes")" +
        (meta.empty() ? "" : "," + meta) + "}}");
    EXPECT_EQ(json::GetString(Take(), "id"), "work");
  }
  void Ask(const std::string& id, const std::string& method, const std::string& params) {
    Say(R"({"jsonrpc":"2.0","id":)" + id + R"(,"method":")" + method + R"(","params":)" + params + "}");
  }
  void Listen(const std::string& notifications) {
    Ask("7", "subscriptions/listen",
        "{" + std::string(kModernMeta) + R"(,"notifications":)" + notifications + "}");
  }
  static std::string Uri(const json::Document& message) {
    EXPECT_EQ(json::GetString(message, "method"), "notifications/resources/updated");
    const json::Value* params = json::Find(message, "params");
    return params == nullptr ? "" : std::string(json::GetString(*params, "uri").value_or(""));
  }

  std::mutex files_mutex_;
  std::map<std::string, int> files_;
  int looks_ = 0;
};

TEST_F(SubscriptionsTest, AChangeIsToldAfterTheCallThatMadeIt) {
  Have("/workspace/a", 1);
  Initialize();
  Ask("1", "resources/subscribe", R"({"uri":"sandbox:///workspace/a"})");
  EXPECT_EQ(json::ToString(ResultOf(Take())), "{}");
  Work();
  EXPECT_TRUE(Silent()) << "nothing has changed";
  Have("/workspace/a", 2);
  Work();
  EXPECT_EQ(Uri(Take()), "sandbox:///workspace/a");
  Work();
  EXPECT_TRUE(Silent()) << "told once";
  Ask("2", "resources/unsubscribe", R"({"uri":"sandbox:///workspace/a"})");
  EXPECT_EQ(json::ToString(ResultOf(Take())), "{}");
  const int before = looks();
  Have("/workspace/a", 3);
  Work();
  EXPECT_TRUE(Silent());
  EXPECT_EQ(looks(), before);
}

TEST_F(SubscriptionsTest, AFileMayComeAndGo) {
  Initialize("2025-06-18");
  Ask("1", "resources/subscribe", R"({"uri":"sandbox:///workspace/new"})");
  EXPECT_EQ(Code(Take()), 0) << "also one that is not there yet";
  Have("/workspace/new", 0);
  Work();
  EXPECT_EQ(Uri(Take()), "sandbox:///workspace/new");
  {
    const std::lock_guard lock(files_mutex_);
    files_.clear();
  }
  Work();
  EXPECT_EQ(Uri(Take()), "sandbox:///workspace/new");
}

TEST_F(SubscriptionsTest, WhereItIsClaimedItIsThere) {
  Say(R"({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},)"
      R"("clientInfo":{"name":"t","version":"1"}}})");
  Take();
  EXPECT_THAT(last_, HasSubstr(R"("subscribe":true)"));
  Open({}, {.http = true});
  Say(R"({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},)"
      R"("clientInfo":{"name":"t","version":"1"}}})");
  Take();
  EXPECT_THAT(last_, HasSubstr(R"("subscribe":false)")) << "each request is a connection of its own";
  Ask("2", "resources/subscribe", R"({"uri":"sandbox:///workspace/a"})");
  EXPECT_EQ(Code(Take()), -32601);
}

TEST_F(SubscriptionsTest, ListeningGoesOnUntilItIsGivenUp) {
  Have("/workspace/a", 1);
  Listen(
      R"({"toolsListChanged":true,"resourceSubscriptions":["sandbox:///workspace/a","sandbox:///workspace/b"]})");
  const auto acknowledged = Take();
  EXPECT_EQ(json::GetString(acknowledged, "method"), "notifications/subscriptions/acknowledged");
  EXPECT_THAT(last_, HasSubstr(R"("notifications":{"resourceSubscriptions":["sandbox:///workspace/a",)"
                               R"("sandbox:///workspace/b"]})"));
  EXPECT_THAT(last_, HasSubstr(R"("io.modelcontextprotocol/subscriptionId":7)"));
  EXPECT_TRUE(session_->OnlyListens());
  EXPECT_FALSE(session_->Idle());
  Have("/workspace/b", 5);
  Work(kModernMeta);
  EXPECT_EQ(Uri(Take()), "sandbox:///workspace/b");
  EXPECT_THAT(last_, HasSubstr(R"("io.modelcontextprotocol/subscriptionId":7)"));
  Say(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}})");
  const int before = looks();
  Work(kModernMeta);
  EXPECT_EQ(looks(), before);
  EXPECT_TRUE(session_->Idle());
}

TEST_F(SubscriptionsTest, WhatIsNoFileOfTheClientsIsRefused) {
  for (const char* bad : {R"({"resourceSubscriptions":"x"})", R"({"resourceSubscriptions":[1]})",
                          R"({"resourceSubscriptions":["file:///etc/passwd"]})", "[]"}) {
    Listen(bad);
    EXPECT_EQ(Code(Take()), -32602) << bad;
  }
  Open({.user = "me", .only = true});
  Listen(R"({"resourceSubscriptions":["sandbox://you/workspace/a"]})");
  EXPECT_EQ(Code(Take()), -32602);
  EXPECT_EQ(looks(), 0);
}

TEST_F(SubscriptionsTest, OthersFilesAreNotLookedAt) {
  Have("/workspace/a", 1);
  Initialize();
  Ask("1", "resources/subscribe", R"({"uri":"sandbox://you/workspace/a"})");
  Take();
  const int before = looks();
  Work();
  EXPECT_EQ(looks(), before);
}

TEST_F(SubscriptionsTest, ThereIsABound) {
  Initialize();
  int code = 0;
  for (int i = 0; i <= 128 && code == 0; ++i) {
    Ask(std::to_string(i), "resources/subscribe",
        R"({"uri":"sandbox:///workspace/)" + std::to_string(i) + "\"}");
    code = Code(Take());
    EXPECT_EQ(code != 0, i == 128);
  }
  // The end of a session lets go of all of its.
  session_.reset();
}

}  // namespace
}  // namespace csb::mcp::testing
