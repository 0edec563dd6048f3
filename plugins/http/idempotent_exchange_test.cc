// SPDX-License-Identifier: Apache-2.0
//
// Requests with an Idempotency-Key, as clients see them: what is done once, and what a repetition is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <tuple>
#include <vector>

#include "plugins/http/test_client.h"
#include "plugins/http/test_server.h"

namespace csb::http {
namespace {

using testing::FakeService;
using ::testing::HasSubstr;
using Options = TestServer::Options;

constexpr char kRan[] =
    R"({"exit_code":0,"cause":"exit","execution_time":0.5,"stdout_bytes":3,"stderr_bytes":0})";
constexpr char kShell[] = "/sandbox/a/shell";
constexpr char kBody[] = R"({"command":"x"})";
constexpr char kNdjson[] = "Accept: application/x-ndjson\r\n";

std::string WithKey(const std::string& key) { return "Idempotency-Key: " + key + "\r\n"; }
std::string RawHead(const std::string& key, const std::string& path, size_t length,
                    const std::string& fields = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(length) +
         "\r\n" + WithKey(key) + fields + "\r\n";
}
bool Replayed(const TestAnswer& answer) {
  const auto field = answer.fields.find("idempotency-replayed");
  return field != answer.fields.end() && field->second == "true";
}

TEST(Idempotent, ARepetitionGetsTheSameAnswerAndRunsNothing) {
  TestServer server;
  server.service.OnDone(CSB_OP_SHELL, kRan, "hi\n");
  server.service.OnDone(CSB_OP_STOP, R"({"status":"stopped"})");
  server.service.OnError(CSB_OP_UNZIP, {CSB_E_NOT_FOUND, "File not found: x", "", false});
  TestClient client(server.port());
  for (const auto& [path, body, status] :
       std::vector<std::tuple<std::string, std::string, int>>{{kShell, kBody, 200},
                                                              {"/sandbox/a/stop", "", 200},
                                                              {"/sandbox/a/unzip", R"({"path":"x"})", 404}}) {
    const size_t before = server.service.requests().size();
    const TestAnswer first = client.Post(path, body, WithKey("key of " + std::to_string(before)));
    EXPECT_EQ(first.status, 422) << "a blank";
    const std::string key = WithKey("key-" + std::to_string(before));
    const TestAnswer done = client.Post(path, body, key);
    EXPECT_EQ(done.status, status) << path;
    EXPECT_FALSE(Replayed(done));
    // Another connection, and so another thread.
    const TestAnswer again = TestClient(server.port()).Post(path, body, key);
    EXPECT_EQ(again.status, status);
    EXPECT_EQ(again.body, done.body);
    EXPECT_EQ(again.fields.at("content-type"), done.fields.at("content-type"));
    EXPECT_TRUE(Replayed(again)) << path;
    EXPECT_EQ(server.service.requests().size(), before + 1) << path;
  }
}

TEST(Idempotent, AStreamIsRepeatedAsItWasSent) {
  TestServer server;
  server.service.OnDone(CSB_OP_SHELL, kRan, "hi\n");
  TestClient client(server.port());
  const TestAnswer first = client.Post(kShell, kBody, WithKey("k") + kNdjson);
  EXPECT_THAT(first.body, HasSubstr("{\"event\":\"stdout\",\"data\":\"hi\\n\"}\n{\"event\":\"exit\""));
  const TestAnswer again = client.Post(kShell, kBody, WithKey("k") + kNdjson);
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(again.fields.at("content-type"), "application/x-ndjson");
  EXPECT_TRUE(Replayed(again));
  EXPECT_EQ(server.service.requests().size(), 1u);
}

TEST(Idempotent, WhileItIsUnderWayARepetitionIsAConflict) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  TestClient client(server.port()), second(server.port());
  client.Send(RawHead("k", kShell, sizeof kBody - 1) + kBody);
  auto operation = server.held();
  const TestAnswer refused = second.Post(kShell, kBody, WithKey("k"));
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(refused.fields.at("retry-after"), "1");
  EXPECT_THAT(refused.body, HasSubstr(R"("error":"a request with this Idempotency-Key is under way")"));
  EXPECT_THAT(refused.body, HasSubstr(R"("code":"conflict")"));
  operation->sink.Done(kRan);
  const TestAnswer done = client.Read();
  EXPECT_EQ(done.status, 200);
  EXPECT_EQ(second.Post(kShell, kBody, WithKey("k")).body, done.body);
  EXPECT_EQ(server.service.requests().size(), 1u);
}

TEST(Idempotent, AKeyIsOfOneRequest) {
  TestServer server(Options{{"http.api_key", "secret-key"}});
  server.service.OnDone(CSB_OP_SHELL, kRan);
  server.service.OnDone(CSB_OP_EXECUTE, kRan);
  TestClient client(server.port());
  const std::string fields = WithKey("k") + "X-API-Key: secret-key\r\n";
  EXPECT_EQ(client.Post(kShell, kBody, fields).status, 200);
  TestAnswer refused = client.Post(kShell, R"({"command":"y"})", fields);
  EXPECT_EQ(refused.status, 422);
  EXPECT_THAT(refused.body, HasSubstr("Idempotency-Key: was used for a request with another body"));
  refused = client.Post("/sandbox/a/execute", kBody, fields);
  EXPECT_EQ(refused.status, 422);
  EXPECT_THAT(refused.body, HasSubstr("Idempotency-Key: was used for a request with another target"));
  EXPECT_EQ(server.service.requests().size(), 1u);
  const TestAnswer other = client.Post("/sandbox/b/shell", kBody, fields);
  EXPECT_EQ(other.status, 200);
  EXPECT_FALSE(Replayed(other)) << "another user's";
  EXPECT_EQ(client.Post(kShell, kBody, WithKey("k")).status, 401);
  EXPECT_EQ(client.Get("/sandbox/a/status", fields).status, 501) << "not of a GET";
}

TEST(Idempotent, AKeyIsOfOneApiKey) {
  const std::string path = ::testing::TempDir() + "http-once-keys-" + std::to_string(getpid());
  std::ofstream(path) << "one:key-of-one\ntwo:key-of-two\n";
  chmod(path.c_str(), 0600);
  TestServer server(Options{{"http.keys_file", path}});
  unlink(path.c_str());
  server.service.OnDone(CSB_OP_SHELL, kRan);
  TestClient client(server.port());
  const auto post = [&](const char* key) {
    return client.Post(kShell, kBody, WithKey("k") + "X-API-Key: " + key + "\r\n");
  };
  EXPECT_EQ(post("key-of-one").status, 200);
  EXPECT_EQ(post("key-of-none").status, 401);
  const TestAnswer second = post("key-of-two");
  EXPECT_EQ(second.status, 200);
  EXPECT_FALSE(Replayed(second));
  EXPECT_TRUE(Replayed(post("key-of-one")));
  EXPECT_EQ(server.service.requests().size(), 2u);
}

TEST(Idempotent, ARepetitionCountsAgainstTheRate) {
  TestServer server(Options{{"http.rate_limit", "2"}});
  server.service.OnDone(CSB_OP_SHELL, kRan);
  TestClient client(server.port());
  EXPECT_EQ(client.Post(kShell, kBody, WithKey("k")).status, 200);
  EXPECT_TRUE(Replayed(client.Post(kShell, kBody, WithKey("k"))));
  EXPECT_EQ(client.Post(kShell, kBody, WithKey("k")).status, 429);
}

TEST(Idempotent, WhatWasRefusedIsDoneByTheNext) {
  TestServer server(Options{{"http.max_body", "1024"}});
  TestClient client(server.port());
  const auto status = [&](const char* key, const std::string& body) {
    return client.Post(kShell, body, WithKey(key)).status;
  };
  EXPECT_EQ(status("malformed", "{"), 400);
  EXPECT_EQ(status("invalid", R"({"command":"x","encoding":"?"})"), 422);
  EXPECT_EQ(TestClient(server.port()).Post(kShell, std::string(2000, 'x'), WithKey("large")).status, 413);
  server.service.OnError(CSB_OP_SHELL, {CSB_E_NO_CAPACITY, "all in use", "wait", true});
  EXPECT_EQ(status("full", kBody), 503);
  server.service.OnDone(CSB_OP_SHELL, kRan);
  for (const char* key : {"malformed", "invalid", "large", "full"}) EXPECT_EQ(status(key, kBody), 200) << key;
}

TEST(Idempotent, KeysThatAreNoneAreRefused) {
  TestServer server;
  TestClient client(server.port());
  for (const std::string& bad : {std::string(), std::string("\xC3\xA4"), std::string(129, 'k')}) {
    const TestAnswer answer = client.Post(kShell, kBody, WithKey(bad));
    EXPECT_EQ(answer.status, 422) << bad;
    EXPECT_THAT(answer.body, HasSubstr("Idempotency-Key: must be")) << bad;
  }
  EXPECT_TRUE(server.service.requests().empty());
}

TEST(Idempotent, AnAnswerThatIsTooLargeIsNotKept) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  TestClient client(server.port());
  client.Send(RawHead("k", kShell, sizeof kBody - 1, kNdjson) + kBody);
  server.held()->Flood(CSB_STREAM_STDOUT, 1 << 20, kRan);
  const TestAnswer whole = client.Read();
  EXPECT_TRUE(whole.complete);
  EXPECT_GT(whole.body.size(), size_t{1} << 20);
  const TestAnswer again = client.Post(kShell, kBody, WithKey("k") + kNdjson);
  EXPECT_EQ(again.status, 409);
  EXPECT_THAT(again.body, HasSubstr("the answer is too large to be kept; nothing was run again"));
  EXPECT_THAT(again.body, HasSubstr(R"("code":"gone")"));
  EXPECT_EQ(server.service.requests().size(), 1u);
}

TEST(Idempotent, WhatABrokenConnectionEndedIsNotRunAgain) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  for (const bool stream : {false, true}) {
    const std::string key = stream ? "stream" : "document", accept = stream ? kNdjson : "";
    {
      TestClient client(server.port());
      client.Send(RawHead(key, kShell, sizeof kBody - 1, accept) + kBody);
      auto operation = server.held(stream ? 1 : 0);
      if (stream) {
        operation->sink.Output(CSB_STREAM_STDOUT, "early");
        EXPECT_THAT(client.ReadUntil("early"), HasSubstr("early"));
      }
      client.Close();
      EXPECT_TRUE(operation->WaitCancelled());
    }
    const TestAnswer again = TestClient(server.port()).Post(kShell, kBody, WithKey(key) + accept);
    EXPECT_EQ(again.status, 503);
    EXPECT_THAT(again.body, HasSubstr("the connection broke; what the request had started was ended"));
    EXPECT_THAT(again.body, HasSubstr(R"("code":"gone")"));
    EXPECT_TRUE(Replayed(again));
    EXPECT_EQ(server.service.requests().size(), stream ? 2u : 1u);
  }
}

TEST(Idempotent, AnAnswerThatNobodyReadIsThereForTheRepetition) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  TestClient client(server.port());
  client.Send(RawHead("k", kShell, sizeof kBody - 1) + kBody);
  server.held()->sink.Done(kRan);
  // Once a byte of it has come it was recorded.
  EXPECT_NE(client.ReadUntil("HTTP/1.1 200"), "");
  client.Reset();
  const TestAnswer again = TestClient(server.port()).Post(kShell, kBody, WithKey("k"));
  EXPECT_EQ(again.status, 200);
  EXPECT_TRUE(Replayed(again));
}

TEST(Idempotent, AnUploadIsKnownByItsBytes) {
  TestServer server;
  server.Hold(CSB_OP_FILE_WRITE);
  const std::string path = "/sandbox/a/file?path=f", type = "Content-Type: application/zip\r\n";
  std::string data(300000, 'y');
  TestClient client(server.port());
  client.Send(RawHead("k", path, data.size(), type) + data);
  auto operation = server.held();
  operation->sink.InputCredit(1 << 20);
  EXPECT_TRUE(operation->WaitEof());
  operation->sink.Done(R"({"path":"/workspace/f","size":300000})");
  const TestAnswer first = client.Read();
  EXPECT_EQ(first.status, 200);
  client.Send(RawHead("k", path, data.size(), type) + data);
  const TestAnswer again = client.Read();
  EXPECT_EQ(again.body, first.body);
  EXPECT_TRUE(Replayed(again));
  data.back() = 'z';
  client.Send(RawHead("k", path, data.size(), type) + data);
  EXPECT_EQ(client.Read().status, 422);
  EXPECT_EQ(server.service.requests().size(), 1u);
}

TEST(Idempotent, AnUploadThatBrokeCanBeSentAgain) {
  TestServer server;
  server.Hold(CSB_OP_FILE_WRITE);
  const std::string head = RawHead("k", "/sandbox/a/file?path=f", 10, "Content-Type: application/zip\r\n");
  {
    TestClient client(server.port());
    client.Send(head + "01234");
    auto operation = server.held(0);
    client.Close();
    EXPECT_TRUE(operation->WaitCancelled());
    EXPECT_FALSE(operation->eof()) << "so nothing was written";
  }
  TestClient client(server.port());
  client.Send(head + "0123456789");
  auto operation = server.held(1);
  operation->sink.InputCredit(100);
  EXPECT_TRUE(operation->WaitEof());
  operation->sink.Done(R"({"path":"/workspace/f","size":10})");
  const TestAnswer answer = client.Read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_FALSE(Replayed(answer));
}

}  // namespace
}  // namespace csb::http
