// SPDX-License-Identifier: Apache-2.0
//
// The backend against services that answer what the tests say: what a host sees of it.
#include "plugins/remote/backend.h"

#include <gmock/gmock.h>

#include <future>

#include "clara_sandbox/testing/fake_service.h"
#include "clara_sandbox/testing/recorder.h"
#include "plugins/common/base64.h"
#include "plugins/common/json_testing.h"
#include "plugins/remote/fake_service.h"
#include "plugins/remote/ranking.h"

namespace csb::remote {
namespace {

using csb::testing::BackendHarness;
using csb::testing::FakeHost;
using csb::testing::Recorder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using Peer = FakeServer::Peer;
using namespace std::chrono_literals;

constexpr char kShell[] = "POST /sandbox/alice/shell ";

class RemoteBackendTest : public ::testing::Test {
 protected:
  void Start(FakeHost::Options options) {
    host_ = std::make_unique<FakeHost>(std::move(options));
    backend_ = std::make_unique<BackendHarness<RemoteBackend>>(*host_);
    ASSERT_EQ(backend_->code(), CSB_OK) << backend_->error().message;
  }
  void Start(const FakeService& service) {
    Start({{"remote.url", service.url()}, {"remote.api_key", "s3cret"}});
  }
  std::unique_ptr<Recorder> Begin(Request request, Recorder::Credit credit = Recorder::Credit::kAutomatic) {
    if (request.user.empty() && request.op != CSB_OP_PROBE) request.user = "alice";
    return std::make_unique<Recorder>(backend_->table(), backend_->self(), request, credit);
  }
  // To its end.
  std::unique_ptr<Recorder> Do(Request request) {
    auto op = Begin(std::move(request));
    EXPECT_TRUE(op->Wait());
    EXPECT_THAT(op->violations(), IsEmpty());
    return op;
  }
  std::unique_ptr<Recorder> Shell(const char* payload = R"({"command":"c"})") {
    return Do({.op = CSB_OP_SHELL, .payload = payload});
  }
  json::Document Probe() {
    const auto op = Do({.op = CSB_OP_PROBE});
    EXPECT_EQ(op->code(), CSB_OK);
    return Json(op->result());
  }
  // Of a service that can't be used.
  std::string WhyNot() {
    const auto probe = Probe();
    EXPECT_EQ(json::GetBool(probe, "available"), false);
    EXPECT_NE(json::GetString(probe, "hint").value_or(""), "");
    return std::string(json::GetString(probe, "reason").value_or(""));
  }

  std::unique_ptr<FakeHost> host_;
  std::unique_ptr<BackendHarness<RemoteBackend>> backend_;
};

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
  EXPECT_EQ(address["offers"].Size(), 12u);
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

// ---- Files.

// Of a file "0123456789", as the range of a request asks.
void ServeDigits(FakeService& service) {
  service.On("GET /sandbox/alice/file", [](Peer& peer, const std::string& request) {
    const std::string all = "0123456789", range = HeaderOf(request, "Range");
    if (range.empty())
      return peer.Send("HTTP/1.1 200 OK\r\nX-File-Mode: 0640\r\nContent-Length: 10\r\n\r\n" + all);
    size_t first = 0, last = 9;
    if (range.starts_with("bytes=-")) {
      first = 10 - std::min<size_t>(10, std::stoul(range.substr(7)));
    } else {
      first = std::stoul(range.substr(6));
      const std::string end = range.substr(range.find('-') + 1);
      if (!end.empty()) last = std::min<size_t>(9, std::stoul(end));
    }
    if (first > 9)
      return peer.Send("HTTP/1.1 416 No\r\nContent-Range: bytes */10\r\nContent-Length: 2\r\n\r\n{}");
    return peer.Send("HTTP/1.1 206 Part\r\nContent-Range: bytes " + std::to_string(first) + "-" +
                     std::to_string(last) + "/10\r\nContent-Length: " + std::to_string(last - first + 1) +
                     "\r\n\r\n" + all.substr(first, last - first + 1));
  });
  service.On("HEAD /sandbox/alice/file", std::string("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"));
}

TEST_F(RemoteBackendTest, AFileIsReadInParts) {
  const struct {
    const char *payload, *bytes;
    int offset;
  } cases[] = {{R"({"path":"d"})", "0123456789", 0},
               {R"({"path":"d","offset":7})", "789", 7},
               {R"({"path":"d","offset":2,"length":3})", "234", 2},
               {R"({"path":"d","length":100})", "0123456789", 0},
               {R"({"path":"d","offset":8,"length":100})", "89", 8},
               {R"({"path":"d","offset":-4})", "6789", 6},
               {R"({"path":"d","offset":-4,"length":2})", "67", 6},
               {R"({"path":"d","offset":-400})", "0123456789", 0},
               {R"({"path":"d","offset":10})", "", 10},
               {R"({"path":"d","offset":4000,"length":5})", "", 10},
               {R"({"path":"d","length":0})", "", 0},
               {R"({"path":"d","offset":3,"length":0})", "", 3}};
  FakeService raw(kFullDocument), plain(kPlainDocument);
  ServeDigits(raw);
  plain.On("GET /sandbox/alice/file", Answer(R"({"path":"/workspace/d","content":"0123456789"})"));
  for (FakeService* service : {&raw, &plain}) {
    Start(*service);
    for (const auto& [payload, bytes, offset] : cases) {
      const auto read = Do({.op = CSB_OP_FILE_READ, .payload = payload});
      EXPECT_EQ(read->code(), CSB_OK) << payload << read->message();
      EXPECT_EQ(read->output(CSB_STREAM_DATA), bytes) << payload;
      ASSERT_THAT(read->events(), SizeIs(1)) << payload;
      EXPECT_EQ(read->events()[0].first, CSB_EVENT_META);
      EXPECT_EQ(read->events()[0].second, read->result());
      const auto meta = Json(read->result());
      EXPECT_EQ(json::GetString(meta, "path"), "/workspace/d");
      EXPECT_EQ(json::GetInt(meta, "size"), 10) << payload;
      EXPECT_EQ(json::GetInt(meta, "offset"), offset) << payload;
      EXPECT_EQ(json::GetInt(meta, "length"), std::string(bytes).size()) << payload;
    }
    backend_.reset();
  }
}

TEST_F(RemoteBackendTest, AFileThatIsNotWhatWasAskedForIsNone) {
  const struct {
    const char* payload;
    std::string answer;
    const char* words;
  } cases[] = {
      {R"({"path":"d"})", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123", "service"},
      {R"({"path":"d","offset":5})", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123", "another part"},
      {R"({"path":"d","offset":1,"length":2})",
       "HTTP/1.1 206 OK\r\nContent-Range: bytes 1-3/4\r\nContent-Length: 3\r\n\r\n123", "another part"},
      {R"({"path":"d","offset":1})", "HTTP/1.1 206 OK\r\nContent-Range: x\r\nContent-Length: 3\r\n\r\n123",
       "another part"},
      {R"({"path":"d"})", "HTTP/1.1 200 OK\r\n\r\n0123", "another part"},
  };
  for (const auto& [payload, answer, words] : cases) {
    FakeService service(kFullDocument);
    service.On("GET /sandbox/alice/file",
               [answer = answer](Peer& peer, const std::string&) { return peer.Send(answer) && false; });
    Start(service);
    const auto read = Do({.op = CSB_OP_FILE_READ, .payload = payload});
    EXPECT_EQ(read->code(), CSB_E_UNAVAILABLE) << answer;
    EXPECT_THAT(read->message(), HasSubstr(words)) << answer;
    backend_.reset();
  }
  FakeService service(kFullDocument);
  service.On("GET /sandbox/alice/file",
             Answer(R"({"error":"File not found: d","code":"not_found"})", "404 Not Found"));
  Start(service);
  const auto read = Do({.op = CSB_OP_FILE_READ, .payload = R"({"path":"d"})"});
  EXPECT_EQ(read->code(), CSB_E_NOT_FOUND);
  EXPECT_EQ(read->message(), "File not found: d");
}

TEST_F(RemoteBackendTest, ALargeFileComesAsCreditAllows) {
  FakeService service(kFullDocument);
  std::string all(3 << 20, '\0');
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i * 2654435761u >> 13);
  service.On("GET /sandbox/alice/file", Answer(all));
  Start(service);
  const auto read = Begin({.op = CSB_OP_FILE_READ, .payload = R"({"path":"d"})", .output_credit = 1000},
                          Recorder::Credit::kManual);
  for (uint64_t given = 1000; !read->done();) {
    const uint64_t more = given < 20'000 ? 997 : 300'000;
    ASSERT_TRUE(read->WaitOutput(CSB_STREAM_DATA, all.substr(0, std::min<size_t>(given, all.size()))));
    if (given >= all.size()) break;
    read->Give(more);
    given += more;
  }
  ASSERT_TRUE(read->Wait());
  EXPECT_EQ(read->code(), CSB_OK) << read->message();
  EXPECT_TRUE(read->output(CSB_STREAM_DATA) == all);
  EXPECT_THAT(read->violations(), IsEmpty());
}

constexpr char kWrite[] = "POST /sandbox/alice/file";

TEST_F(RemoteBackendTest, ASmallFileIsOneRequest) {
  FakeService service(kFullDocument);
  service.On(kWrite, Answer(R"({"success":true,"path":"/workspace/d","size":3})"));
  Start(service);
  const auto write =
      Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"});
  EXPECT_TRUE(write->Send("abc"));
  ASSERT_TRUE(write->Wait());
  EXPECT_EQ(write->code(), CSB_OK) << write->message();
  EXPECT_EQ(write->result(), R"({"path":"/workspace/d","size":3})");
  ASSERT_THAT(service.Seen(kWrite), SizeIs(1));
  EXPECT_EQ(HeaderOf(service.Seen(kWrite)[0], "Content-Length"), "3");
  EXPECT_EQ(BodyOf(service.Seen(kWrite)[0]), "abc");
}

TEST_F(RemoteBackendTest, ALargeFileIsSentAsItComes) {
  FakeService service(kFullDocument);
  std::string got;
  bool whole = false;
  service.On(kWrite, [&](Peer& peer, const std::string&) {
    while (const auto chunk = peer.Chunk()) {
      got += *chunk;
      whole = chunk->empty();
      if (whole) return peer.Send(Answer(R"({"success":true,"path":"/workspace/d"})"));
    }
    return false;
  });
  Start(service);
  std::string all(5 << 20, '\0');
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i * 2654435761u >> 13);
  const auto write =
      Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"});
  EXPECT_TRUE(write->Send(std::string_view(all).substr(0, 200'000), false));
  EXPECT_TRUE(service.Wait(kWrite)) << "before there is all of it";
  EXPECT_TRUE(write->Send(std::string_view(all).substr(200'000)));
  ASSERT_TRUE(write->Wait());
  EXPECT_EQ(write->code(), CSB_OK) << write->message();
  EXPECT_TRUE(whole);
  EXPECT_TRUE(got == all);
  EXPECT_EQ(json::GetInt(Json(write->result()), "size"), all.size());
  EXPECT_LE(write->input_credit(), all.size() + (2 << 20)) << "no more waits here than its window";
  EXPECT_EQ(HeaderOf(service.Seen(kWrite)[0], "Transfer-Encoding"), "chunked");
}

// Nobody reads what is sent: what waits here stays bounded.
TEST_F(RemoteBackendTest, AnUploadThatNobodyTakesGetsNoMoreCredit) {
  FakeService service(kFullDocument);
  std::promise<void> go_on;
  service.On(kWrite, [&, wait = go_on.get_future().share()](Peer& peer, const std::string&) {
    wait.wait();
    peer.Send(
        "HTTP/1.1 507 Full\r\nConnection: close\r\nContent-Length: 39\r\n\r\n"
        R"({"error":"disk full","code":"no_space"})");
    while (peer.Chunk()) continue;
    return false;
  });
  Start(service);
  const auto write =
      Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"});
  auto sent = std::async(std::launch::async, [&] { return write->Send(std::string(64 << 20, 'x')); });
  ASSERT_TRUE(service.Wait(kWrite));
  EXPECT_EQ(sent.wait_for(500ms), std::future_status::timeout);
  EXPECT_LT(write->input_credit(), 20u << 20) << "its window, and what both ends of the connection hold";
  go_on.set_value();
  EXPECT_FALSE(sent.get());
  ASSERT_TRUE(write->Wait());
  EXPECT_EQ(write->code(), CSB_E_NO_SPACE) << write->message();
}

// Whoever pauses learns of it at once, not with the next piece.
TEST_F(RemoteBackendTest, AnUploadThatIsRefusedEndsWhileItsSenderPauses) {
  FakeService service(kFullDocument);
  service.On(kWrite, [](Peer& peer, const std::string&) {
    for (size_t got = 0; got < 200'000;) {
      const auto chunk = peer.Chunk();
      if (!chunk) return false;
      got += chunk->size();
    }
    peer.Send(
        "HTTP/1.1 413 Large\r\nContent-Length: 37\r\n\r\n"
        R"({"error":"large","code":"too_large"} )");
    while (peer.Chunk()) continue;
    return false;
  });
  Start(service);
  const auto write =
      Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"});
  EXPECT_TRUE(write->Send(std::string(200'000, 'x'), false));
  ASSERT_TRUE(write->Wait());
  EXPECT_EQ(write->code(), CSB_E_TOO_LARGE) << write->message();
}

// ---- What is sent again.

TEST_F(RemoteBackendTest, ARequestWithAKeyIsRepeatedAndMeansTheSame) {
  FakeService service(kFullDocument);
  std::atomic<int> n = 0;
  service.On(kShell, [&](Peer& peer, const std::string&) {
    switch (n++) {
      case 0:  // its connection breaks
        return false;
      case 1:  // it is still being done
        return peer.Send(
            "HTTP/1.1 409 Conflict\r\nRetry-After: 1\r\nContent-Length: 31\r\n\r\n"
            R"({"error":"x","code":"conflict"})");
      default:
        return peer.Send(std::string(kStreamHead) + kExit + std::string(kStreamEnd));
    }
  });
  Start(service);
  Probe();  // learns which process it is
  const auto run = Shell();
  EXPECT_EQ(run->code(), CSB_OK) << run->message();
  const auto seen = service.Seen(kShell);
  ASSERT_THAT(seen, SizeIs(3));
  const std::string key = HeaderOf(seen[0], "Idempotency-Key");
  EXPECT_EQ(key.size(), 32u);
  EXPECT_EQ(HeaderOf(seen[0], "X-Sandbox-Instance"), "");
  for (int i : {1, 2}) {
    EXPECT_EQ(HeaderOf(seen[static_cast<size_t>(i)], "Idempotency-Key"), key);
    EXPECT_EQ(HeaderOf(seen[static_cast<size_t>(i)], "X-Sandbox-Instance"), "i1");
    EXPECT_EQ(BodyOf(seen[static_cast<size_t>(i)]), BodyOf(seen[0]));
  }
  EXPECT_EQ(Shell()->code(), CSB_OK);
  EXPECT_NE(HeaderOf(service.Seen(kShell)[3], "Idempotency-Key"), key) << "another request has another one";
}

TEST_F(RemoteBackendTest, ARepetitionHasItsBound) {
  FakeService service(kFullDocument);
  service.On(kShell, [](Peer&, const std::string&) { return false; });
  for (const int retries : {0, 2}) {
    Start({{"remote.url", service.url()}, {"remote.retries", std::to_string(retries)}});
    Probe();
    const size_t before = service.Seen(kShell).size();
    EXPECT_EQ(Shell()->code(), CSB_E_UNAVAILABLE);
    EXPECT_THAT(service.Seen(kShell), SizeIs(before + 1 + static_cast<size_t>(retries)));
    backend_.reset();
  }
}

TEST_F(RemoteBackendTest, WithoutAKeyNothingRunsTwice) {
  FakeService service(kPlainDocument);
  service.On(kShell, [](Peer&, const std::string&) { return false; });
  service.On("GET /sandbox/alice/status ", [](Peer&, const std::string&) { return false; });
  Start(service);
  const auto run = Shell();
  EXPECT_EQ(run->code(), CSB_E_UNAVAILABLE);
  EXPECT_FALSE(run->retryable());
  EXPECT_THAT(run->message(), HasSubstr("whether the request was done is not known"));
  ASSERT_THAT(service.Seen(kShell), SizeIs(1));
  EXPECT_EQ(HeaderOf(service.Seen(kShell)[0], "Idempotency-Key"), "");
  // What does no harm is.
  EXPECT_EQ(Do({.op = CSB_OP_STATUS})->code(), CSB_E_UNAVAILABLE);
  EXPECT_GE(service.Seen("GET /sandbox/alice/status ").size(), 3u);
}

// ---- Several addresses.

class SeveralAddresses : public RemoteBackendTest {
 protected:
  SeveralAddresses() {
    for (FakeService* service : {&one_, &two_})
      service->On("POST /sandbox/", std::string(kStreamHead) + kExit + std::string(kStreamEnd));
  }
  void Begin(bool shared) {
    Start({{"remote.url", one_.url() + "," + two_.url()},
           {"remote.shared", shared ? "1" : "0"},
           {"remote.retries", "1"}});
    home_ = Ranking("alice", {one_.url(), two_.url()})[0] == 0 ? &one_ : &two_;
    other_ = home_ == &one_ ? &two_ : &one_;
  }
  static void Has(FakeService& service, const char* user) {
    service.On("GET /sandbox/alice/status ",
               Answer(R"({"status":"running","user_id":")" + std::string(user) + "\"}"));
  }

  FakeService one_{kFullDocument}, two_{kFullDocument};
  FakeService *home_ = nullptr, *other_ = nullptr;
};

TEST_F(SeveralAddresses, ANewUserStaysAtItsOwn) {
  Begin(false);
  one_.On("GET /sandbox/alice/status ", Answer(R"({"error":"no sandbox","code":"not_found"})", "404 No"));
  two_.On("GET /sandbox/alice/status ", Answer(R"({"error":"no sandbox","code":"not_found"})", "404 No"));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Shell()->code(), CSB_OK);
  EXPECT_THAT(home_->Seen(kShell), SizeIs(5));
  EXPECT_THAT(other_->Seen(kShell), IsEmpty());
  EXPECT_THAT(home_->Seen("GET /sandbox/alice/status "), SizeIs(1)) << "asked once";
}

TEST_F(SeveralAddresses, AUserIsServedWhereTheFilesAre) {
  Begin(false);
  home_->On("GET /sandbox/alice/status ", Answer(R"({"error":"no sandbox","code":"not_found"})", "404 No"));
  Has(*other_, "alice");
  EXPECT_EQ(Shell()->code(), CSB_OK);
  EXPECT_THAT(home_->Seen(kShell), IsEmpty());
  EXPECT_THAT(other_->Seen(kShell), SizeIs(1));
}

TEST_F(SeveralAddresses, AnotherServesOnlyIfItHasTheUser) {
  Begin(false);
  home_->Stop();
  const auto refused = [&] {
    const auto run = Shell();
    EXPECT_EQ(run->code(), CSB_E_UNAVAILABLE);
    EXPECT_THAT(run->message(),
                AllOf(HasSubstr(home_->url()), HasSubstr("no other address has this user's sandbox")));
    EXPECT_THAT(other_->Seen(kShell), IsEmpty());
  };
  other_->On("GET /sandbox/alice/status ", Answer(R"({"error":"no sandbox","code":"not_found"})", "404 No"));
  refused();
  other_->On("GET /sandbox/alice/status ", Answer(R"({"detail":"oh"})", "500 Oh"));
  refused();
  other_->On("GET /sandbox/alice/status ", Answer("<html>"));
  refused();
  Has(*other_, "bob");
  refused();
  Has(*other_, "alice");
  EXPECT_EQ(Shell()->code(), CSB_OK);
  EXPECT_THAT(other_->Seen(kShell), SizeIs(1));
}

TEST_F(SeveralAddresses, TheirHomeGoesDownUnderUsers) {
  Begin(false);
  Has(*home_, "alice");
  EXPECT_EQ(Shell()->code(), CSB_OK);
  home_->Stop();
  Has(*other_, "alice");
  EXPECT_EQ(Shell()->code(), CSB_OK) << "nothing of it was anywhere yet";
  EXPECT_THAT(other_->Seen(kShell), SizeIs(1));
}

TEST_F(SeveralAddresses, SharedOnesServeAnybody) {
  Begin(true);
  EXPECT_EQ(Shell()->code(), CSB_OK);
  EXPECT_THAT(home_->Seen(kShell), SizeIs(1));
  home_->Stop();
  EXPECT_EQ(Shell()->code(), CSB_OK);
  EXPECT_THAT(other_->Seen(kShell), SizeIs(1));
  EXPECT_THAT(other_->Seen("GET /sandbox/alice/status "), IsEmpty()) << "nobody needs to be asked";
}

TEST_F(SeveralAddresses, OneThatCanBeUsedIsEnough) {
  Begin(true);
  home_->Stop();
  const auto probe = Probe();
  EXPECT_EQ(json::GetBool(probe, "available"), true);
  EXPECT_THAT(std::string(*json::GetString(probe, "reason")), HasSubstr(home_->url()));
  EXPECT_EQ(probe["details"]["addresses"].Size(), 2u);
}

// ---- Its end. What a cancelled operation left behind is still under way then; a leak shows in ASan's build.

TEST_F(RemoteBackendTest, ItEndsWithCallsUnderWay) {
  FakeService service(kFullDocument);
  service.On(kShell, [](Peer& peer, const std::string&) { return peer.Send(kStreamHead); });
  service.On("POST /sandbox/alice/execute ", [](Peer&, const std::string&) { return false; });  // is repeated
  service.On("GET /sandbox/alice/file",
             "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + std::string(800'000, 'x'));
  service.On("GET /sandbox/alice/status ", [](Peer&, const std::string&) { return true; });
  service.On(kWrite, [](Peer& peer, const std::string&) {
    while (peer.Chunk()) continue;
    return false;
  });
  for (int round = 0; round < 6; ++round) {
    Start({{"remote.url", service.url()}, {"remote.retries", "10"}});
    if (round % 2 == 0) Probe();
    {
      const size_t runs = service.Seen(kShell).size(),
                   asked = service.Seen("GET /sandbox/alice/status ").size();
      std::vector<std::unique_ptr<Recorder>> ops;
      ops.push_back(Begin({.op = CSB_OP_SHELL, .payload = R"({"command":"c"})"}));
      ops.push_back(Begin({.op = CSB_OP_EXECUTE, .payload = R"({"code":"c"})"}));
      ops.push_back(Begin({.op = CSB_OP_STATUS}));
      ops.push_back(Begin({.op = CSB_OP_FILE_READ, .payload = R"({"path":"d"})", .output_credit = 10},
                          Recorder::Credit::kManual));
      ops.push_back(Begin({.op = CSB_OP_SHELL, .flags = CSB_REQUEST_INPUT, .payload = R"({"command":"c"})"}));
      ops.push_back(
          Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"}));
      ops.push_back(
          Begin({.op = CSB_OP_FILE_WRITE, .flags = CSB_REQUEST_INPUT, .payload = R"({"path":"d"})"}));
      if (round > 1) {
        EXPECT_TRUE(ops[4]->Send("half", false));
        EXPECT_TRUE(ops[5]->Send("half", false));
        EXPECT_TRUE(ops[6]->Send(std::string(300'000, 'x'), false));
        EXPECT_TRUE(service.Wait(kShell, runs + 1));
        EXPECT_TRUE(service.Wait("GET /sandbox/alice/status ", asked + 1));
      }
      for (const auto& op : ops) op->Cancel(round == 5 ? CSB_E_DEADLINE : CSB_E_CANCELLED);
      for (const auto& op : ops) {
        ASSERT_TRUE(op->Wait());
        EXPECT_NE(op->code(), CSB_OK);
        EXPECT_THAT(op->violations(), IsEmpty());
      }
    }
    backend_.reset();
    host_.reset();
  }
}

}  // namespace
}  // namespace csb::remote
