// SPDX-License-Identifier: Apache-2.0
//
// /mcp as clients see it: which forms, which headers, whose sandbox, what a disconnect ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/temporary_folder.h"
#include "plugins/http/test_client.h"
#include "plugins/http/test_server.h"

namespace csb::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Options = TestServer::Options;

constexpr char kRan[] =
    R"({"exit_code":0,"cause":"exit","execution_time":0.01,"stdout_bytes":3,"stderr_bytes":0})";
const std::string kBoth = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
const std::string kLegacy = kBoth + "MCP-Protocol-Version: 2025-11-25\r\n";

std::string ModernHeaders(const std::string& method, const std::string& name = "") {
  return kBoth + "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: " + method + "\r\n" +
         (name.empty() ? "" : "Mcp-Name: " + name + "\r\n");
}
std::string Modern(const std::string& method, const std::string& params = "", const std::string& meta = "") {
  return R"({"jsonrpc":"2.0","id":1,"method":")" + method +
         R"(","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",)"
         R"("io.modelcontextprotocol/clientCapabilities":{})" +
         meta + "}" + params + "}}";
}
std::string Legacy(const std::string& method, const std::string& params = "{}", const std::string& id = "1") {
  return R"({"jsonrpc":"2.0","id":)" + id + R"(,"method":")" + method + R"(","params":)" + params + "}";
}
const std::string kShell = R"(,"name":"run_shell","arguments":{"command":"x"})";
const std::string kLegacyShell = R"({"name":"run_shell","arguments":{"command":"x"}})";

TEST(Mcp, ARequestIsAnsweredByOneDocument) {
  TestServer server;
  server.service.OnDone(CSB_OP_SHELL, kRan, "hi\n");
  TestClient client(server.port());
  const TestAnswer answer =
      client.Post("/mcp", Modern("tools/call", kShell), ModernHeaders("tools/call", "run_shell"));
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.fields.at("content-type"), "application/json");
  EXPECT_THAT(answer.body, HasSubstr(R"("resultType":"complete")"));
  EXPECT_THAT(answer.body, HasSubstr(R"("text":"hi\n")"));
  EXPECT_EQ(server.service.requests().at(0).user, "default");
}

TEST(Mcp, ALegacyClientInitializesAndCalls) {
  TestServer server;
  server.service.OnDone(CSB_OP_SHELL, kRan, "hi\n");
  TestClient client(server.port());
  TestAnswer answer = client.Post("/mcp", Legacy("initialize", R"({"protocolVersion":"2025-06-18"})"), kBoth);
  EXPECT_THAT(answer.body, HasSubstr(R"("protocolVersion":"2025-06-18")"));
  const std::string session = answer.fields.at("mcp-session-id");
  EXPECT_EQ(session.size(), 32u);
  answer = client.Post("/mcp", R"({"jsonrpc":"2.0","method":"notifications/initialized"})", kLegacy);
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.body, "");
  answer = client.Post("/mcp", Legacy("tools/call", kLegacyShell),
                       kLegacy + "Mcp-Session-Id: " + session + "\r\n");
  EXPECT_THAT(answer.body, HasSubstr(R"("text":"hi\n")"));
  EXPECT_THAT(answer.body, Not(HasSubstr("resultType")));
  // Without the header it is the revision that had none, and that has batches.
  answer = client.Post("/mcp", "[" + Legacy("ping") + "," + Legacy("ping", "{}", "2") + "]", kBoth);
  EXPECT_EQ(answer.body, R"([{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"result":{}}])");
  EXPECT_EQ(client.Post("/mcp", "[" + Legacy("ping") + "]", kLegacy).status, 400);
}

TEST(Mcp, HeadersMustSayWhatTheBodySays) {
  TestServer server;
  TestClient client(server.port());
  const std::string list = Modern("tools/list");
  const std::string version = "MCP-Protocol-Version: 2026-07-28\r\n", method = "Mcp-Method: tools/list\r\n";
  for (const std::string& headers : {kBoth + method, kBoth + version, kLegacy + method,
                                     ModernHeaders("tools/call"), ModernHeaders("Tools/list")}) {
    const TestAnswer answer = client.Post("/mcp", list, headers);
    EXPECT_EQ(answer.status, 400) << headers;
    EXPECT_THAT(answer.body, HasSubstr(R"("code":-32020)")) << headers;
  }
  EXPECT_EQ(client.Post("/mcp", list, ModernHeaders("  tools/list ")).status, 200);
  const std::string read = Modern("resources/read", R"(,"uri":"none:Ü")");
  const TestAnswer coded =
      client.Post("/mcp", read, ModernHeaders("resources/read", "=?base64?bm9uZTrDnA==?="));
  EXPECT_THAT(coded.body, HasSubstr(R"("code":-32602)"))
      << "the name is compared as it was before the coding";
  for (const char* bad : {"none:x", "=?base64?bm9uZTr?=", "=?base64?bm9uZTp4?="})
    EXPECT_THAT(client.Post("/mcp", read, ModernHeaders("resources/read", bad)).body, HasSubstr("-32020"))
        << bad;
  EXPECT_THAT(client.Post("/mcp", Modern("tools/call", kShell), ModernHeaders("tools/call")).body,
              HasSubstr("Mcp-Name: the header is missing"));
}

TEST(Mcp, WhatIsNotServedHasItsStatus) {
  TestServer server;
  TestClient client(server.port());
  for (const char* gone : {"initialize", "ping", "logging/setLevel", "resources/subscribe", "none"}) {
    const TestAnswer answer = client.Post("/mcp", Modern(gone), ModernHeaders(gone));
    EXPECT_EQ(answer.status, 404) << gone;
    EXPECT_THAT(answer.body, HasSubstr("-32601")) << gone;
  }
  TestAnswer answer = client.Post("/mcp", Legacy("tools/list"), ModernHeaders("tools/list"));
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body, HasSubstr("-32602")) << "_meta is missing";
  answer = client.Post("/mcp", Legacy("tools/list"), kBoth + "MCP-Protocol-Version: 2031-01-01\r\n");
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":-32022)"));
  EXPECT_THAT(answer.body, HasSubstr(R"("requested":"2031-01-01")"));
  EXPECT_EQ(client.Post("/mcp", "{", kLegacy).status, 400);
  EXPECT_EQ(client.Post("/mcp", Legacy("none"), kLegacy).status, 200)
      << "in the era before, errors are answers";
  EXPECT_EQ(client.Post("/mcp", Legacy("ping"), kLegacy + "Mcp-Session-Id: a b\r\n").status, 400);
  EXPECT_EQ(client.Get("/mcp").status, 405);
  EXPECT_EQ(client.Call("DELETE", "/mcp").status, 405);
  EXPECT_EQ(client.Post("/mcp", Legacy("ping"), "Content-Type: text/plain\r\n").status, 415);
  EXPECT_EQ(
      client.Post("/mcp", Legacy("ping"), "Content-Type: application/json\r\nAccept: image/png\r\n").status,
      406);
}

TEST(Mcp, AcceptChoosesTheForm) {
  TestServer server;
  TestClient client(server.port());
  const std::string json = "Content-Type: application/json\r\n";
  EXPECT_EQ(client.Post("/mcp", Legacy("ping"), json).fields.at("content-type"), "application/json");
  EXPECT_EQ(client.Post("/mcp", Legacy("ping"), json + "Accept: */*\r\n").fields.at("content-type"),
            "application/json");
  const TestAnswer events = client.Post("/mcp", Legacy("ping"), json + "Accept: text/event-stream\r\n");
  EXPECT_EQ(events.fields.at("content-type"), "text/event-stream");
  EXPECT_EQ(events.body, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n");
}

TEST(Mcp, ProgressMakesItAStreamOfEvents) {
  TestServer server(Options{{"http.heartbeat", "0.4"}});
  server.Hold(CSB_OP_SHELL);
  TestClient client(server.port());
  const std::string body = Modern("tools/call", kShell, R"(,"progressToken":"p")");
  client.Send("POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + ModernHeaders("tools/call", "run_shell") +
              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const auto run = server.held();
  const std::string head = client.ReadUntil(":\n\n");  // longer than the gap between two of progress
  EXPECT_THAT(head, HasSubstr("X-Accel-Buffering: no"));
  EXPECT_THAT(head, HasSubstr("text/event-stream"));
  run->sink.Output(CSB_STREAM_STDOUT, "half way\n");
  EXPECT_THAT(client.ReadUntil("half way\"}}\n\n"), HasSubstr(R"("progressToken":"p")"));
  run->sink.Done(kRan);
  EXPECT_THAT(client.ReadUntil("0\r\n\r\n"), HasSubstr(R"("resultType":"complete")"));
}

TEST(Mcp, ADisconnectCancelsInTheEraWithoutInitializeOnly) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  const auto start = [&](const std::string& headers, const std::string& body) {
    auto client = std::make_unique<TestClient>(server.port());
    client->Send("POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + headers +
                 "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return client;
  };
  auto legacy = start(kLegacy, Legacy("tools/call", kLegacyShell));
  const auto first = server.held(0);
  legacy->Close();
  auto modern = start(ModernHeaders("tools/call", "run_shell"), Modern("tools/call", kShell));
  const auto second = server.held(1);
  modern->Close();
  EXPECT_TRUE(second->WaitCancelled());
  EXPECT_FALSE(first->sink.finished()) << "its client did not cancel it";
  first->sink.Done(kRan);
}

TEST(Mcp, ALegacyClientCancelsWithAnotherMessageOfItsSession) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  TestClient runs(server.port()), other(server.port());
  const std::string mine = kLegacy + "Mcp-Session-Id: mine\r\n";
  const std::string body = Legacy("tools/call", kLegacyShell, "7");
  runs.Send("POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + mine +
            "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const auto run = server.held();
  const std::string cancel =
      R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}})";
  EXPECT_EQ(other.Post("/mcp", cancel, kLegacy + "Mcp-Session-Id: theirs\r\n").status, 202);
  EXPECT_EQ(other.Post("/mcp", cancel, kLegacy).status, 202);
  EXPECT_FALSE(run->sink.finished());
  EXPECT_EQ(other.Post("/mcp", cancel, mine).status, 202);
  EXPECT_TRUE(run->WaitCancelled());
}

TEST(Mcp, KeysAndTheirUsersHoldHereToo) {
  TemporaryFolder folder;
  const std::string file = folder.path() + "/keys";
  std::ofstream(file) << "all:key-of-all\none:key-of-one:bob\ntwo:key-of-two:bob,eve\n";
  ::chmod(file.c_str(), 0600);
  TestServer server(Options{{"http.keys_file", file}, {"http.mcp_user", "clara"}});
  server.service.OnDone(CSB_OP_SHELL, kRan, "hi\n");
  TestClient client(server.port());
  EXPECT_EQ(client.Post("/mcp", Legacy("ping"), kLegacy).status, 401);
  const auto call = [&](const std::string& key, const std::string& user) {
    const std::string arguments = user.empty() ? "" : R"(,"user_id":")" + user + "\"";
    return client
        .Post("/mcp",
              Legacy("tools/call", R"({"name":"run_shell","arguments":{"command":"x")" + arguments + "}}"),
              kLegacy + "Authorization: Bearer " + key + "\r\n")
        .body;
  };
  EXPECT_THAT(call("key-of-all", ""), HasSubstr("hi"));
  EXPECT_THAT(call("key-of-one", ""), HasSubstr("hi"));
  EXPECT_THAT(call("key-of-two", ""), HasSubstr("may not act for that user"));
  EXPECT_THAT(call("key-of-two", "eve"), HasSubstr("hi"));
  EXPECT_THAT(call("key-of-one", "eve"), HasSubstr("may not act for that user"));
  std::vector<std::string> users;
  for (const Request& request : server.service.requests()) users.push_back(request.user);
  EXPECT_EQ(users, (std::vector<std::string>{"clara", "bob", "eve"}));
}

TEST(Mcp, OtherSitesAndOtherNamesAreKeptAway) {
  TestServer server;
  TestClient client(server.port());
  EXPECT_EQ(client.Post("/mcp", Legacy("ping"), kLegacy + "Origin: http://evil.example\r\n").status, 403);
  const std::string body = Legacy("ping");
  client.Send("POST /mcp HTTP/1.1\r\nHost: evil.example\r\n" + kLegacy +
              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_EQ(client.Read().status, 403);
}

TEST(Mcp, TheRateOfAUserIsTheOneOfRest) {
  TestServer server(Options{{"http.rate_limit", "1"}});
  server.service.OnDone(CSB_OP_SHELL, kRan, "hi\n");
  TestClient client(server.port());
  std::string body;
  for (int i = 0; i < 20 && body.find("requests a minute") == std::string::npos; ++i)
    body = client.Post("/mcp", Legacy("tools/call", kLegacyShell), kLegacy).body;
  EXPECT_THAT(body, HasSubstr("more than 1 requests a minute"));
  EXPECT_EQ(client.Post("/mcp", Legacy("ping"), kLegacy).status, 200);
}

}  // namespace
}  // namespace csb::http
