// SPDX-License-Identifier: Apache-2.0
//
// The frontend as clients see it: requests, answers, keys, connections.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "clara_sandbox/cpp/json.h"
#include "plugins/http/test_client.h"
#include "plugins/http/test_server.h"

namespace csb::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Options = TestServer::Options;

constexpr char kRan[] =
    R"({"exit_code":0,"cause":"exit","execution_time":0.01,"stdout_bytes":3,"stderr_bytes":0})";

TEST(Frontend, RunsAShellCommand) {
  TestServer server;
  server.service.OnDone(CSB_OP_SHELL, kRan, "hi\n");
  TestClient client(server.port());
  const TestAnswer answer = client.Post("/sandbox/alice/shell", R"({"command":"echo hi","nonsense":1})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(
      answer.body,
      R"({"success":true,"output":"hi\n","error":null,"exit_code":0,"execution_time":0.01,"timed_out":false,)"
      R"("oom_killed":false,"truncated":false,"stdout_bytes":3,"stderr_bytes":0,"cause":"exit",)"
      R"("signal":0,"stdout_dropped":0,"stderr_dropped":0,"message":"","hint":""})");
  const Request request = server.service.requests().at(0);
  EXPECT_EQ(request.op, CSB_OP_SHELL);
  EXPECT_EQ(request.user, "alice");
  EXPECT_EQ(request.payload, R"({"command":"echo hi","output":{"head":524288,"tail":524288}})");
  EXPECT_EQ(request.request_id, answer.fields.at("x-request-id"));
}

TEST(Frontend, TellsWhyARunWasEnded) {
  TestServer server;
  server.service.OnDone(
      CSB_OP_EXEC,
      R"({"exit_code":124,"cause":"deadline","signal":9,"execution_time":1,"stdout_bytes":9,"stderr_bytes":8,)"
      R"("stdout_dropped":5,"stderr_dropped":6,"message":"Execution timed out after 1 s","hint":"raise it"})");
  TestClient client(server.port());
  const TestAnswer answer = client.Post("/sandbox/a/exec", R"({"argv":["sleep","9"],"timeout":1,"cwd":"d"})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr(R"("cause":"deadline","signal":9,"stdout_dropped":5,"stderr_dropped":6,)"
                                     R"("message":"Execution timed out after 1 s","hint":"raise it"})"));
  const Request request = server.service.requests().at(0);
  EXPECT_EQ(request.op, CSB_OP_EXEC);
  EXPECT_THAT(request.payload, HasSubstr(R"({"argv":["sleep","9"],"timeout":1,"cwd":"d",)"));
}

TEST(Frontend, TellsWhatWasUnpacked) {
  TestServer server;
  server.service.OnDone(
      CSB_OP_UNZIP,
      R"({"exit_code":0,"cause":"exit","destination":"/workspace/d","files":2,"folders":1,"links":3,"bytes":4})");
  TestClient client(server.port());
  EXPECT_THAT(
      client.Post("/sandbox/a/unzip", R"({"path":"x.zip"})").body,
      HasSubstr(R"("hint":"","destination":"/workspace/d","files":2,"folders":1,"links":3,"bytes":4})"));
  EXPECT_THAT(client.Post("/sandbox/a/unzip", R"({"path":"x.zip"})", "Accept: application/x-ndjson\r\n").body,
              HasSubstr(R"("hint":"","destination":"/workspace/d","files":2,)"));
}

TEST(Frontend, HandsOnWhatTheServiceTells) {
  TestServer server(Options{{"http.api_key", "secret-key"}});
  server.service.OnDone(CSB_OP_FILE_STAT, R"({"name":"f","type":"file","size":3})");
  server.service.OnDone(CSB_OP_LIST, R"({"sandboxes":[],"unavailable":[]})");
  TestClient client(server.port());
  EXPECT_EQ(client.Get("/sandboxes").status, 401);
  const std::string key = "X-API-Key: secret-key\r\n";
  EXPECT_EQ(client.Get("/sandbox/a/stat?path=d/f", key).body, R"({"name":"f","type":"file","size":3})");
  EXPECT_EQ(server.service.requests().at(0).payload, R"({"path":"d/f"})");
  EXPECT_EQ(client.Get("/sandboxes", key).body, R"({"sandboxes":[],"unavailable":[]})");
  EXPECT_EQ(server.service.requests().at(1).user, "");
}

TEST(Frontend, ARepetitionForAnotherProcessIsRefused) {
  TestServer server;
  server.service.OnDone(CSB_OP_HEALTH, R"({"status":"healthy"})");
  server.service.OnDone(CSB_OP_INFO, "{}");
  server.service.OnDone(CSB_OP_SHELL, kRan);
  TestClient client(server.port());
  const std::string instance = client.Get("/health").fields.at("x-sandbox-instance");
  EXPECT_THAT(instance, ::testing::MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(client.Get("/info").fields.at("x-sandbox-instance"), instance);
  EXPECT_NE(TestClient(TestServer().port()).Get("/health").fields["x-sandbox-instance"], instance);
  const auto run = [&](const std::string& field) {
    return client.Post("/sandbox/a/shell", R"({"command":"x"})", "X-Sandbox-Instance: " + field + "\r\n");
  };
  const size_t before = server.service.requests().size();
  for (const char* other : {"0123456789abcdef", ""}) {
    const TestAnswer refused = run(other);
    EXPECT_EQ(refused.status, 409) << other;
    EXPECT_THAT(refused.body,
                HasSubstr(R"("error":"the service was started anew since; whether an earlier)"));
    EXPECT_THAT(refused.body, HasSubstr(R"("code":"gone")"));
  }
  EXPECT_EQ(server.service.requests().size(), before) << "nothing ran";
  EXPECT_EQ(run(instance).status, 200);
}

TEST(Frontend, KeepsTheConnectionAndAnswersAPipelineInOrder) {
  TestServer server;
  server.service.OnDone(CSB_OP_STATUS, R"({"status":"running"})");
  server.service.OnDone(CSB_OP_STOP, R"({"status":"stopped"})");
  TestClient client(server.port());
  client.Send(
      "GET /sandbox/a/status HTTP/1.1\r\nHost: h\r\n\r\n"
      "POST /sandbox/a/stop HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
      "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"
      "GET /sandbox/b/status HTTP/1.1\r\nHost: h\r\n\r\n");
  // Without a key a Host that is not ours is refused, so the pipeline is of errors.
  for (int i = 0; i < 4; ++i) EXPECT_EQ(client.Read().status, 403);
  std::string pipeline;
  for (const char* line :
       {"GET /sandbox/a/status", "POST /sandbox/a/stop", "GET /nothing", "GET /sandbox/b/status"})
    pipeline += std::string(line) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  client.Send(pipeline);
  EXPECT_EQ(client.Read().body, R"({"status":"running"})");
  EXPECT_EQ(client.Read().body, R"({"status":"stopped"})");
  EXPECT_EQ(client.Read().status, 404);
  EXPECT_EQ(client.Read().body, R"({"status":"running"})");
}

TEST(Frontend, ErrorsHaveTheStatusOfTheInterface) {
  const std::pair<csb_status, int> expected[] = {
      {CSB_E_INVALID, 422},     {CSB_E_BAD_REQUEST, 400},  {CSB_E_UNAUTHORIZED, 401},
      {CSB_E_FORBIDDEN, 403},   {CSB_E_NOT_FOUND, 404},    {CSB_E_CONFLICT, 409},
      {CSB_E_TOO_LARGE, 413},   {CSB_E_RATE_LIMITED, 429}, {CSB_E_UNAVAILABLE, 503},
      {CSB_E_NO_CAPACITY, 503}, {CSB_E_DEADLINE, 504},     {CSB_E_NO_SPACE, 507},
      {CSB_E_UNSUPPORTED, 501}, {CSB_E_IO, 500},           {CSB_E_GONE, 500},
      {CSB_E_INTERNAL, 500}};
  TestServer server;
  TestClient client(server.port());
  for (const auto& [code, status] : expected) {
    server.service.OnError(CSB_OP_STATUS, {code, "what failed", "what to do", false});
    const TestAnswer answer = client.Get("/sandbox/a/status");
    EXPECT_EQ(answer.status, status) << code;
    auto doc = json::ParseObject(answer.body);
    ASSERT_TRUE(doc) << answer.body;
    EXPECT_EQ(json::GetString(*doc, "error"), "what failed");
    EXPECT_EQ(json::GetString(*doc, "detail"), "what failed: what to do");
    EXPECT_EQ(answer.fields.count("retry-after"), status == 503 ? 1u : 0u);
  }
}

TEST(Frontend, UserIdsAreDecodedOnceAndChecked) {
  TestServer server;
  server.service.OnDone(CSB_OP_STATUS, "{}");
  TestClient client(server.port());
  for (const auto& [path, user] : std::map<std::string, std::string>{
           {"a%2Fb", "a/b"}, {"%252F", "%2F"}, {"..", ".."}, {"%C3%A4%20", "\xC3\xA4 "}, {"a+b", "a+b"}}) {
    EXPECT_EQ(client.Get("/sandbox/" + path + "/status").status, 200) << path;
    EXPECT_EQ(server.service.requests().back().user, user);
  }
  for (const std::string& bad : std::vector<std::string>{"", "a%00b", "%0A", "%FF", std::string(257, 'a')}) {
    const TestAnswer answer = client.Get("/sandbox/" + bad + "/status");
    EXPECT_EQ(answer.status, 422) << bad;
    EXPECT_THAT(answer.body, HasSubstr("user_id"));
  }
}

TEST(Frontend, TellsMethodsApart) {
  TestServer server;
  server.service.OnDone(CSB_OP_HEALTH, R"({"status":"healthy"})");
  TestClient client(server.port());
  const TestAnswer wrong = client.Call("PUT", "/sandbox/a/file");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.fields.at("allow"), "GET, HEAD, POST, DELETE, OPTIONS");
  const TestAnswer options = client.Call("OPTIONS", "/sandbox/a/shell");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.fields.at("allow"), "POST, OPTIONS");
  EXPECT_EQ(client.Call("OPTIONS", "*").status, 204);
  const TestAnswer head = client.Call("HEAD", "/health");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.fields.at("content-length"), std::to_string(client.Get("/health").body.size()));
}

TEST(Frontend, HealthIsShapedForProbes) {
  TestServer server(Options{{"http.api_key", "secret-key"}});
  TestClient client(server.port());
  server.service.OnDone(CSB_OP_HEALTH,
                        R"({"status":"healthy","version":"1","backends":{"docker":{"available":true}}})");
  TestAnswer answer = client.Get("/health");
  EXPECT_EQ(answer.status, 200) << "needs no key";
  EXPECT_THAT(answer.body, HasSubstr(R"("docker":true)"));
  server.service.OnDone(CSB_OP_HEALTH, R"({"status":"unhealthy","version":"1","backends":{}})");
  answer = client.Get("/health");
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.body, HasSubstr(R"("docker":false)"));
}

TEST(Frontend, MetricsAreText) {
  TestServer server;
  server.service.On(CSB_OP_METRICS, [](const RequestView&, EventSink sink) {
    sink.Output(CSB_STREAM_DATA, "a 1\n");
    sink.Done();
    return testing::FakeService::NoOperation();
  });
  const TestAnswer answer = TestClient(server.port()).Get("/metrics");
  EXPECT_EQ(answer.body, "a 1\n");
  EXPECT_THAT(answer.fields.at("content-type"), HasSubstr("text/plain"));
}

TEST(Frontend, EveryCallButHealthNeedsTheKey) {
  TestServer server(Options{{"http.api_key", "secret-key"}});
  server.service.OnDone(CSB_OP_INFO, "{}");
  TestClient client(server.port());
  for (const char* path : {"/info", "/metrics", "/docs", "/openapi.json", "/sandbox/a/status", "/nothing"}) {
    EXPECT_EQ(client.Get(path).status, 401) << path;
    EXPECT_EQ(client.Get(path, "X-API-Key: secret-kez\r\n").status, 401) << path;
  }
  EXPECT_EQ(client.Get("/info", "X-API-Key: secret-key\r\n").status, 200);
  EXPECT_EQ(client.Get("/info", "Authorization: Bearer secret-key\r\n").status, 200);
  // printf user:secret-key | base64
  const std::string basic = "Authorization: Basic dXNlcjpzZWNyZXQta2V5\r\n";
  EXPECT_EQ(client.Get("/docs", basic).status, 200);
  EXPECT_EQ(client.Get("/info", basic).status, 401) << "a browser would send it for any page";
  for (const auto& line : server.host.logs()) EXPECT_THAT(line.message, Not(HasSubstr("secret")));
}

TEST(Frontend, AKeyMayBeBoundToUsersAndReplacedOnReload) {
  const std::string path = ::testing::TempDir() + "http-keys-" + std::to_string(getpid());
  const auto write = [&](const char* text) {
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
  };
  write("bob:key-of-bob:bob\noperator:key-of-all\n");
  TestServer server(Options{{"http.keys_file", path}});
  server.service.OnDone(CSB_OP_STATUS, "{}");
  server.service.OnDone(CSB_OP_METRICS, "{}");
  TestClient client(server.port());
  const auto get = [&](const char* target, const char* key) {
    return client.Get(target, std::string("X-API-Key: ") + key + "\r\n").status;
  };
  EXPECT_EQ(get("/sandbox/bob/status", "key-of-bob"), 200);
  EXPECT_EQ(get("/sandbox/eve/status", "key-of-bob"), 403);
  EXPECT_EQ(get("/sandbox/eve/status", "key-of-all"), 200);
  EXPECT_EQ(get("/metrics", "key-of-bob"), 403);
  EXPECT_EQ(get("/sandboxes", "key-of-bob"), 403);
  EXPECT_EQ(get("/metrics", "key-of-all"), 200);
  write("operator:another-key\n");
  server.server->Reload();
  EXPECT_EQ(get("/sandbox/bob/status", "key-of-bob"), 401);
  EXPECT_EQ(get("/sandbox/bob/status", "another-key"), 200);
  write("broken");
  server.server->Reload();
  EXPECT_EQ(get("/sandbox/bob/status", "another-key"), 200) << "the old keys stay";
  unlink(path.c_str());
}

TEST(Frontend, RefusesToListenBeyondLoopbackWithoutAKey) {
  testing::FakeHost host(Options{{"http.host", "0.0.0.0"}, {"http.port", "0"}});
  testing::FakeService service(host);
  auto server = Server::Create(host.ref(), service.client());
  ASSERT_FALSE(server);
  EXPECT_THAT(server.error().message, HasSubstr("without an API key"));
  EXPECT_THAT(server.error().hint, HasSubstr("SANDBOX_API_KEY"));
}

TEST(Frontend, LimitsTheRateOfAUser) {
  TestServer server(Options{{"http.rate_limit", "2"}});
  server.service.OnDone(CSB_OP_STATUS, "{}");
  TestClient client(server.port());
  EXPECT_EQ(client.Get("/sandbox/a/status").status, 200);
  EXPECT_EQ(client.Get("/sandbox/a/status").status, 200);
  const TestAnswer answer = client.Get("/sandbox/a/status");
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.fields.at("retry-after"), "30");
  EXPECT_EQ(client.Get("/sandbox/b/status").status, 200);
}

TEST(Frontend, RefusesOtherSites) {
  TestServer server;
  server.service.OnDone(CSB_OP_INFO, "{}");
  TestClient client(server.port());
  EXPECT_EQ(client.Get("/info", "Origin: http://evil.example\r\n").status, 403);
  EXPECT_EQ(client.Get("/info", "Sec-Fetch-Site: cross-site\r\n").status, 403);
  EXPECT_EQ(client.Get("/info", "Origin: http://localhost\r\n").status, 200);
}

TEST(Frontend, ServesItsDescription) {
  TestServer server;
  TestClient client(server.port());
  const TestAnswer api = client.Get("/openapi.json");
  EXPECT_TRUE(json::ParseObject(api.body));
  const TestAnswer docs = client.Get("/docs");
  EXPECT_THAT(docs.fields.at("content-type"), HasSubstr("text/html"));
  EXPECT_THAT(docs.fields.at("content-security-policy"), HasSubstr("default-src 'none'"));
  EXPECT_THAT(docs.body, Not(HasSubstr("http://")));
  EXPECT_THAT(docs.body, Not(HasSubstr("https://")));
}

TEST(Frontend, BoundsAJsonBody) {
  TestServer server(Options{{"http.max_body", "1024"}, {"http.api_key", "secret-key"}});
  server.service.OnDone(CSB_OP_SHELL, kRan);
  const std::string key = "X-API-Key: secret-key\r\n",
                    big = "{\"command\":\"" + std::string(100000, 'x') + "\"}";
  TestClient client(server.port());
  EXPECT_EQ(client.Post("/sandbox/a/shell", big, key).status, 413);
  TestClient chunked(server.port());
  chunked.Send("POST /sandbox/a/shell HTTP/1.1\r\nHost: h\r\n" + key +
               "Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + big.substr(0, 100000));
  const TestAnswer answer = chunked.Read();
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.fields.at("connection"), "close");
  EXPECT_TRUE(chunked.Ended());
  EXPECT_TRUE(server.service.requests().empty());
  TestClient again(server.port());
  EXPECT_EQ(again.Post("/sandbox/a/shell", R"({"command":"x"})", key).status, 200);
}

TEST(Frontend, BoundsTheMemoryOfAllBodies) {
  TestServer server(Options{{"http.max_buffered", "100000"}});
  server.Hold(CSB_OP_SHELL);
  TestClient client(server.port());
  const std::string big = "{\"command\":\"" + std::string(60000, 'x') + "\"}";
  EXPECT_EQ(client.Post("/sandbox/a/shell", big).status, 503);
}

TEST(Frontend, AnswersAnErrorBeforeABodyThatWasAnnouncedWithExpect) {
  TestServer server(Options{{"http.api_key", "secret-key"}});
  server.service.OnDone(CSB_OP_SHELL, kRan);
  TestClient client(server.port());
  const std::string head =
      "POST /sandbox/a/shell HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 15\r\n";
  client.Send(head + "\r\n");
  const TestAnswer refused = client.Read();
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.fields.at("connection"), "close");
  TestClient second(server.port());
  second.Send(head + "X-API-Key: secret-key\r\n\r\n");
  EXPECT_EQ(second.Read().status, 100);
  second.Send(R"({"command":"x"})");
  EXPECT_EQ(second.Read().status, 200);
  EXPECT_EQ(second.Get("/health").status, 501) << "the connection goes on";
}

TEST(Frontend, SpeaksHttp10) {
  TestServer server;
  server.service.OnDone(CSB_OP_INFO, "{}");
  TestClient client(server.port());
  client.Send("GET /info HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n"), "HTTP/1.0 200 OK\r\n");
  EXPECT_TRUE(client.Ended());
  TestClient keep(server.port());
  keep.Send("GET /info HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(keep.Read().fields.at("connection"), "keep-alive");
  EXPECT_EQ(keep.Get("/info").status, 200);
}

TEST(Frontend, AClientThatGoesCancelsWhatItStarted) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  for (const bool reset : {false, true}) {
    TestClient client(server.port());
    client.Send(
        "POST /sandbox/a/shell HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n{\"command\":\"x\"}");
    auto operation = server.held(reset ? 1 : 0);
    if (reset)
      client.Reset();
    else
      client.Close();
    EXPECT_TRUE(operation->WaitCancelled()) << reset;
  }
}

TEST(Frontend, StopClosesIdleConnectionsAndLetsRunningEnd) {
  TestServer server;
  server.Hold(CSB_OP_SHELL);
  TestClient idle(server.port()), busy(server.port());
  server.service.OnDone(CSB_OP_INFO, "{}");
  EXPECT_EQ(idle.Get("/info").status, 200);
  busy.Send(
      "POST /sandbox/a/shell HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n{\"command\":\"x\"}");
  auto operation = server.held();
  server.server->Stop();
  EXPECT_TRUE(idle.Ended());
  EXPECT_ANY_THROW(TestClient{server.port()});
  operation->sink.Done(kRan);
  const TestAnswer answer = busy.Read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.fields.at("connection"), "close");
  EXPECT_TRUE(busy.Ended());
}

TEST(Frontend, DropsSlowClients) {
  TestServer server(Options{{"http.header_timeout", "0.2"},
                            {"http.body_timeout", "0.2"},
                            {"http.idle_timeout", "0.4"},
                            {"http.min_rate", "1000000"}});
  server.service.OnDone(CSB_OP_INFO, "{}");
  TestClient silent(server.port()), head(server.port()), body(server.port()), idle(server.port());
  EXPECT_EQ(idle.Get("/info").status, 200);
  head.Send("GET /info HTTP/1.1\r\nHost:");
  body.Send("POST /sandbox/a/shell HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n{");
  EXPECT_EQ(head.Read().status, 408);
  EXPECT_EQ(body.Read().status, 408);
  EXPECT_TRUE(silent.Ended());
  EXPECT_TRUE(head.Ended());
  EXPECT_TRUE(body.Ended());
  EXPECT_TRUE(idle.Ended());
}

TEST(Frontend, BoundsConnections) {
  TestServer server(Options{{"http.max_connections_per_address", "2"}});
  server.service.OnDone(CSB_OP_INFO, "{}");
  TestClient a(server.port()), b(server.port());
  EXPECT_EQ(a.Get("/info").status, 200);
  EXPECT_EQ(b.Get("/info").status, 200);
  TestClient c(server.port());
  EXPECT_EQ(c.Read().status, 503);
  EXPECT_TRUE(c.Ended());
  a.Send("GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(a.Read().status, 200);
  a.Close();
  // The server learns of it on its own thread: the next one that is admitted shows it.
  int status = 0;
  for (int i = 0; i < 100 && status != 200; ++i) status = TestClient(server.port()).Get("/info").status;
  EXPECT_EQ(status, 200);
}

}  // namespace
}  // namespace csb::http
