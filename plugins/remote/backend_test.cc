// SPDX-License-Identifier: Apache-2.0
//
// The backend against services that answer what the tests say: whether it can be used, and runs.
#include <gmock/gmock.h>

#include "plugins/remote/backend_testing.h"

namespace csb::remote {
namespace {

using Peer = FakeServer::Peer;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// ---- Whether it can be used.

TEST_F(RemoteBackendTest, AHealthyServiceIsUsedForWhatItOffers) {
  FakeService service(kFullDocument);
  service.On("GET /info ",
             Answer(R"({"version":"1.2.3","candidates":[{"name":"bubblewrap","chosen":false,"enforces":7},)"
                    R"({"name":"docker","chosen":true,"isolation":"a container",)"
                    R"("enforces":{"memory":{"enforced":true}}}]})"));
  Start(service);
  const auto probe = Probe();
  EXPECT_EQ(json::GetBool(probe, "available"), true);
  EXPECT_EQ(json::GetString(probe, "reason"), "");
  EXPECT_EQ(json::GetString(probe, "version"), "Clara Sandbox 1.2.3 at " + service.url());
  EXPECT_EQ(json::GetString(probe, "isolation"), "that of the service: docker: a container");
  EXPECT_EQ(json::ToString(probe["enforces"]), R"({"memory":{"enforced":true}})");
  const json::Value& address = probe["details"]["addresses"][0];
  EXPECT_EQ(address["offers"].Size(), 14u);
  EXPECT_EQ(address["lacks"].Size(), 0u);
  EXPECT_EQ(HeaderOf(service.Seen("GET /info ")[0], "X-API-Key"), "s3cret");
}

TEST_F(RemoteBackendTest, APlainServiceIsUsedToo) {
  for (const std::string_view document : {kPlainDocument, std::string_view()}) {
    FakeService service(document);
    Start(service);
    const auto probe = Probe();
    EXPECT_EQ(json::GetBool(probe, "available"), true);
    EXPECT_EQ(json::GetBool(probe["details"]["addresses"][0], "described"), !document.empty());
    backend_.reset();
  }
}

TEST_F(RemoteBackendTest, WithoutAnAddressItIsNotUsed) {
  Start(FakeHost::Options());
  EXPECT_THAT(WhyNot(), HasSubstr("no remote service is configured"));
  EXPECT_EQ(Shell()->code(), CSB_E_UNAVAILABLE);
}

TEST_F(RemoteBackendTest, AServiceThatCanNotBeUsedSaysWhy) {
  const struct {
    const char* line;
    std::string answer;
    const char* reason;
  } cases[] = {
      {"GET /health ",
       Answer(R"({"status":"unhealthy","backends":{"docker":{"available":false,"reason":"no socket"}}})",
              "503 No"),
       "is unhealthy (docker: no socket)"},
      {"GET /health ", Answer("<html>", "200 OK"), "which is not the JSON object of a sandbox service"},
      {"GET /health ", Answer("{}", "200 OK"), "answered 200"},
      {"GET /health ", Answer("<html>Bad Gateway", "502 Bad Gateway"), "answered 502"},
      {"GET /info ", Answer(R"({"detail":"Invalid API key"})", "401 Unauthorized"),
       "refuses the API key (401)"},
      {"GET /openapi.json ", Answer("oh", "500 Oh"), "answered 500"},
      {"GET /health ", "SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"},
  };
  for (const auto& [line, answer, reason] : cases) {
    FakeService service(kFullDocument);
    service.On(line, answer);
    Start(service);
    EXPECT_THAT(WhyNot(), AllOf(HasSubstr(reason), HasSubstr(service.url()))) << line << answer;
    backend_.reset();
  }
}

TEST_F(RemoteBackendTest, AServiceThatIsNotThereOrSaysNothing) {
  FakeService gone(kFullDocument), silent(kFullDocument);
  gone.Stop();
  Start(gone);
  EXPECT_THAT(WhyNot(), HasSubstr("can't be reached: connect " + gone.url() + ": Connection refused"));
  backend_.reset();
  silent.On("GET /health ", [](Peer&, const std::string&) { return true; });
  Start(silent);
  EXPECT_THAT(WhyNot(), HasSubstr("is silent: no answer within 2 s"));
}

TEST_F(RemoteBackendTest, TheKeyGoesToNobodyElse) {
  FakeService elsewhere(kFullDocument), service(kFullDocument);
  const std::string moved =
      "HTTP/1.1 307 Moved\r\nLocation: " + elsewhere.url() + "/x\r\nContent-Length: 0\r\n\r\n";
  service.On(kShell, moved);
  Start(service);
  const auto run = Shell();
  EXPECT_EQ(run->code(), CSB_E_UNAVAILABLE);
  EXPECT_THAT(run->message(), HasSubstr("redirects to " + elsewhere.url()));
  EXPECT_EQ(HeaderOf(service.Seen(kShell)[0], "X-API-Key"), "s3cret");
  service.On("GET /health ", moved);
  EXPECT_THAT(WhyNot(), HasSubstr("redirects to"));
  EXPECT_EQ(elsewhere.connections(), 0);
  for (const auto& line : host_->logs()) EXPECT_THAT(line.message, Not(HasSubstr("s3cret")));
}

// ---- Runs.

TEST_F(RemoteBackendTest, AStreamComesInItsOrderWhateverTheCredit) {
  FakeService service(kFullDocument);
  service.On(kShell, [](Peer& peer, const std::string&) {
    std::string stream(kStreamHead);
    stream += Event(R"({"event":"stdout","data":"abc"})") +
              Event(R"({"event":"dropped","stream":"stdout","bytes":7})") +
              Event(R"({"event":"stderr","data":"d\u00e4"})") +
              Event(R"({"event":"new of later versions"})") +
              Event(R"({"event":"stdout","data":"/wA=","encoding":"base64"})") + kExit;
    // In pieces of any size.
    for (size_t at = 0; at < stream.size(); at += 7)
      if (!peer.Send(std::string_view(stream).substr(at, 7))) return false;
    return peer.Send(kStreamEnd);
  });
  Start(service);
  const auto run = Begin({.op = CSB_OP_SHELL, .payload = R"({"command":"c"})", .output_credit = 0},
                         Recorder::Credit::kManual);
  const struct {
    uint32_t stream;
    std::string so_far;
    size_t events;
  } steps[] = {{CSB_STREAM_STDOUT, "a", 0},       {CSB_STREAM_STDOUT, "ab", 0},
               {CSB_STREAM_STDOUT, "abc", 0},     {CSB_STREAM_STDERR, "d", 1},
               {CSB_STREAM_STDERR, "d\xC3", 1},   {CSB_STREAM_STDERR, "d\xC3\xA4", 1},
               {CSB_STREAM_STDOUT, "abc\xff", 1}, {CSB_STREAM_STDOUT, std::string("abc\xff\0", 5), 1}};
  for (const auto& [stream, so_far, events] : steps) {
    EXPECT_FALSE(run->done());
    EXPECT_LE(run->events().size(), events) << so_far;
    run->Give(1);
    ASSERT_TRUE(run->WaitOutput(stream, so_far)) << so_far;
  }
  ASSERT_TRUE(run->Wait());
  EXPECT_EQ(run->code(), CSB_OK) << run->message();
  EXPECT_EQ(run->output(CSB_STREAM_STDOUT), std::string("abc\xff\0", 5));
  EXPECT_EQ(run->output(CSB_STREAM_STDERR), "d\xC3\xA4");
  ASSERT_THAT(run->events(), SizeIs(1));
  EXPECT_EQ(run->events()[0].first, CSB_EVENT_DROPPED);
  EXPECT_EQ(run->events()[0].second, R"({"stream":1,"bytes":7})");
  EXPECT_EQ(json::GetNumber(Json(run->result()), "execution_time"), 0.5);
  EXPECT_THAT(run->violations(), IsEmpty());
}

TEST_F(RemoteBackendTest, ALongStreamLosesNothing) {
  FakeService service(kFullDocument);
  std::string all;
  for (int i = 0; all.size() < 4 << 20; ++i) all += "line " + std::to_string(i) + " ";
  service.On(kShell, [&](Peer& peer, const std::string&) {
    peer.Send(kStreamHead);
    for (size_t at = 0; at < all.size(); at += 50'000)
      if (!peer.Send(Event(R"({"event":"stdout","data":")" + all.substr(at, 50'000) + "\"}"))) return false;
    return peer.Send(kExit + std::string(kStreamEnd));
  });
  Start(service);
  const auto run = Shell();
  EXPECT_EQ(run->code(), CSB_OK) << run->message();
  EXPECT_TRUE(run->output(CSB_STREAM_STDOUT) == all);
}

TEST_F(RemoteBackendTest, AStreamThatBreaksOffIsNoEnd) {
  const std::string begun = std::string(kStreamHead) + Event(R"({"event":"stdout","data":"so far"})");
  const struct {
    std::string sent;
    bool close;
  } cases[] = {{begun, true},
               {begun + std::string(kStreamEnd), false},
               {begun + "40\r\ndata: {\"event\":\"exi", true}};
  for (const auto& [sent, close] : cases) {
    FakeService service(kFullDocument);
    service.On(kShell, [&, sent = sent, close = close](Peer& peer, const std::string&) {
      return peer.Send(sent) && !close;
    });
    Start(service);
    const auto run = Shell();
    EXPECT_EQ(run->code(), CSB_E_UNAVAILABLE);
    EXPECT_FALSE(run->retryable());
    EXPECT_THAT(run->message(), HasSubstr(service.url()));
    EXPECT_NE(run->hint(), "");
    EXPECT_EQ(run->output(CSB_STREAM_STDOUT), "so far");
    EXPECT_TRUE(close || run->message().find("broke off before the run's end") != std::string::npos)
        << run->message();
    EXPECT_THAT(service.Seen(kShell), SizeIs(1));
    backend_.reset();
  }
}

TEST_F(RemoteBackendTest, AStreamMayEndWithAnErrorOrMakeNoSense) {
  const struct {
    std::string events;
    csb_status code;
    const char* words;
  } cases[] = {
      {Event(
           R"({"event":"error","error":"the sandbox ended","detail":"the sandbox ended: start it","code":"gone","status":409})"),
       CSB_E_GONE, "the sandbox ended"},
      {Event("no json"), CSB_E_UNAVAILABLE, "no JSON object"},
      {Event(R"({"event":"exit"})"), CSB_E_UNAVAILABLE, "no exit_code"},
      {Event(R"({"event":"stdout","data":"?","encoding":"base64"})"), CSB_E_UNAVAILABLE, "base64"},
      {Event(R"({"event":"stdout","data":")" + std::string(5 << 20, 'x') + "\"}"), CSB_E_TOO_LARGE, "4 MiB"},
  };
  for (const auto& [events, code, words] : cases) {
    FakeService service(kFullDocument);
    service.On(kShell, std::string(kStreamHead) + events + kExit + std::string(kStreamEnd));
    Start(service);
    const auto run = Shell();
    EXPECT_EQ(run->code(), code) << words;
    EXPECT_THAT(run->message(), HasSubstr(words));
    backend_.reset();
  }
}

TEST_F(RemoteBackendTest, ACancelBreaksTheConnection) {
  FakeService service(kFullDocument);
  service.On(kShell, [](Peer& peer, const std::string&) {
    return peer.Send(std::string(kStreamHead) + Event(R"({"event":"stdout","data":"up"})"));
  });
  Start(service);
  const auto run = Begin({.op = CSB_OP_SHELL, .payload = R"({"command":"sleep 60"})"});
  ASSERT_TRUE(run->WaitOutput(CSB_STREAM_STDOUT, "up"));
  run->Cancel();
  ASSERT_TRUE(run->Wait());
  EXPECT_EQ(run->code(), CSB_E_CANCELLED);
  EXPECT_TRUE(service.WaitGone()) << "on which the service ends the run";
}

TEST_F(RemoteBackendTest, StandardInputGoesWithTheRequest) {
  FakeService service(kFullDocument);
  service.On(kShell, std::string(kStreamHead) + kExit + std::string(kStreamEnd));
  Start(service);
  std::string input;
  for (int i = 0; input.size() < 1'000'000; ++i) input += std::to_string(i) + "\n";
  const Request request{.op = CSB_OP_SHELL, .flags = CSB_REQUEST_INPUT, .payload = R"({"command":"cat"})"};
  auto run = Begin(request);
  EXPECT_TRUE(run->Send(std::string_view(input).substr(0, 400'000), false));
  EXPECT_TRUE(run->Send(std::string_view(input).substr(400'000)));
  ASSERT_TRUE(run->Wait());
  EXPECT_EQ(run->code(), CSB_OK) << run->message();
  ASSERT_EQ(service.Seen(kShell).size(), 1u);
  EXPECT_TRUE(json::GetString(Json(BodyOf(service.Seen(kShell)[0])), "stdin") == input);
  // More than a service takes is refused before anything is sent.
  run = Begin(request);
  run->Send(std::string((16 << 20) + 1, 'x'));
  ASSERT_TRUE(run->Wait());
  EXPECT_EQ(run->code(), CSB_E_TOO_LARGE) << "also when it is the last piece";
  EXPECT_EQ(service.Seen(kShell).size(), 1u);
}

TEST_F(RemoteBackendTest, WhatAPlainRunPrintsIsBoundedHere) {
  FakeService service(kPlainDocument);
  service.On(kShell,
             Answer(R"({"success":true,"output":"abcdefghijklmnopqrstuvwxyz","error":"err","exit_code":3})"));
  Start(service);
  auto run = Shell(R"({"command":"c","output":{"head":3,"tail":2}})");
  EXPECT_EQ(run->code(), CSB_OK) << run->message();
  EXPECT_EQ(run->output(CSB_STREAM_STDOUT), "abcyz");
  EXPECT_EQ(run->output(CSB_STREAM_STDERR), "err");
  ASSERT_THAT(run->events(), SizeIs(1));
  EXPECT_EQ(run->events()[0].second, R"({"stream":1,"bytes":21})");
  const auto result = Json(run->result());
  EXPECT_EQ(json::GetInt(result, "exit_code"), 3);
  EXPECT_EQ(json::GetInt(result, "stdout_bytes"), 26);
  EXPECT_EQ(json::GetInt(result, "stdout_dropped"), 21);
  EXPECT_EQ(json::GetInt(result, "stderr_dropped"), 0);
  run = Shell();
  EXPECT_EQ(run->output(CSB_STREAM_STDOUT).size(), 26u);
  EXPECT_THAT(run->events(), IsEmpty());
}

TEST_F(RemoteBackendTest, AServiceWithoutTheCallIsNamed) {
  FakeService service(kPlainDocument);
  Start(service);
  const auto run = Shell();
  EXPECT_EQ(run->code(), CSB_E_UNAVAILABLE);
  EXPECT_THAT(run->message(), HasSubstr("has no POST /sandbox/…/shell (404)"));
}

}  // namespace
}  // namespace csb::remote
