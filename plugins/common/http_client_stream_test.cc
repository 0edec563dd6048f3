// SPDX-License-Identifier: Apache-2.0
//
// http_client.h: bodies that come and go piece by piece, what is sent again, and what is told on the way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <future>
#include <map>

#include "plugins/common/http_client.h"
#include "plugins/common/http_fake_server.h"

namespace csb {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Peer = testing::FakeServer::Peer;
using Kind = testing::FakeServer::Kind;
using testing::Answer;

std::string Bytes(size_t size) {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>(i * 2654435761u >> 13);
  return out;
}

// A gate that callbacks knock at and the test opens.
class Gate {
 public:
  void Knock() {
    const std::lock_guard lock(mutex_);
    ++knocks_;
    changed_.notify_all();
  }
  // Until it was knocked at `n` times in all.
  bool Wait(int n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 30s, [&] { return knocks_ >= n; });
  }
  int knocks() {
    const std::lock_guard lock(mutex_);
    return knocks_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int knocks_ = 0;
};

class HttpStream : public ::testing::Test {
 protected:
  using Outcome = std::future<Result<HttpResponse>>;

  std::unique_ptr<HttpClient> Client(const HttpEndpoint& endpoint) {
    auto client = HttpClient::Create(*reactor_, endpoint);
    EXPECT_TRUE(client) << client.error().message;
    return *std::move(client);
  }
  static HttpClient::CallId Start(HttpClient& client, HttpRequest request, Outcome* outcome) {
    auto promise = std::make_shared<std::promise<Result<HttpResponse>>>();
    *outcome = promise->get_future();
    return client.Start(std::move(request),
                        [promise](Result<HttpResponse> answer) { promise->set_value(std::move(answer)); });
  }
  // What was posted before is through.
  void Settle() {
    std::promise<void> through;
    reactor_->Post([&] { through.set_value(); });
    through.get_future().wait();
  }

  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("stream-test");
};

void UntilGone(Peer& peer) {
  while (!peer.Request().empty()) continue;
}

// ---- Answers that are held back.

TEST_F(HttpStream, HeldBackItComesOnAfterResumeAndNothingIsLost) {
  const std::string body = Bytes(3 << 20);
  testing::FakeServer server([&](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(Answer(body));
  });
  auto client = Client(server.endpoint());
  std::string got;
  std::atomic<size_t> allowed = 0;
  std::atomic<bool> beyond = false;
  Gate held;
  Outcome outcome;
  const auto id = Start(*client,
                        {.target = "/",
                         .timeout = 20s,
                         .on_data =
                             [&](std::string_view piece) {
                               beyond = beyond || got.size() >= allowed;
                               got += piece;
                               return true;
                             },
                         .hold =
                             [&] {
                               if (got.size() < allowed) return false;
                               held.Knock();
                               return true;
                             }},
                        &outcome);
  int times = 0;
  while (outcome.wait_for(0s) != std::future_status::ready && allowed <= body.size()) {
    ASSERT_TRUE(held.Wait(++times));
    allowed += 100'000;
    client->Resume(id);
    client->Resume(id);  // once too often is harmless
  }
  const auto answer = outcome.get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_TRUE(got == body);
  EXPECT_FALSE(beyond);
  EXPECT_GT(times, 10);
}

TEST_F(HttpStream, HeldBackItIsNotStalled) {
  testing::FakeServer server([](Peer& peer) {
    peer.Request();
    peer.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    UntilGone(peer);  // and says no more
  });
  auto client = Client(server.endpoint());
  std::atomic<bool> open = false;
  std::string got;
  Gate held;
  Outcome outcome;
  const auto id = Start(*client,
                        {.target = "/x",
                         .timeout = 1s,
                         .on_data =
                             [&](std::string_view piece) {
                               got += piece;
                               return true;
                             },
                         .hold =
                             [&] {
                               held.Knock();
                               return !open;
                             }},
                        &outcome);
  ASSERT_TRUE(held.Wait(1));
  EXPECT_EQ(outcome.wait_for(1500ms), std::future_status::timeout);
  open = true;
  client->Resume(id);
  const auto answer = outcome.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, CSB_E_DEADLINE);
  EXPECT_EQ(answer.error().message, "GET /x: nothing came for 1 s");
  EXPECT_EQ(got, "first");
}

TEST_F(HttpStream, HeldBackItCanBeCancelledAndItsClientEnded) {
  testing::FakeServer server([](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(Answer(std::string(500'000, 'x')));
  });
  for (const bool cancel : {true, false}) {
    auto client = Client(server.endpoint());
    Gate held;
    Outcome outcome;
    const auto id = Start(*client,
                          {.target = "/",
                           .on_data = [](std::string_view) { return true; },
                           .hold =
                               [&] {
                                 held.Knock();
                                 return true;
                               }},
                          &outcome);
    ASSERT_TRUE(held.Wait(1));
    if (cancel) {
      client->Cancel(id);
      client->Resume(id);
      client->Resume(id + 1000);
      Settle();
    } else {
      client.reset();
    }
    const auto answer = outcome.get();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, CSB_E_CANCELLED);
  }
}

TEST_F(HttpStream, TheHeadComesBeforeTheDataAndMayRefuseIt) {
  testing::FakeServer server([](Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();) {
      if (request.starts_with("GET /none"))
        peer.Send("HTTP/1.1 204 No\r\nX-Kept: 1\r\n\r\n");
      else if (request.starts_with("GET /fails"))
        peer.Send(Answer("no", "500 Oh"));
      else
        peer.Send(
            "HTTP/1.1 103 Early\r\nX-Kept: early\r\n\r\nHTTP/1.1 206 Part\r\nContent-Type: a/b\r\nx-kept: "
            "1\r\n"
            "X-KEPT: 2\r\nX-Other: 3\r\nContent-Length: 4\r\n\r\nbody");
    }
  });
  auto client = Client(server.endpoint());
  std::vector<std::string> seen;
  bool take = true;
  HttpRequest request{.target = "/some",
                      .on_data =
                          [&](std::string_view piece) {
                            seen.emplace_back(piece);
                            return true;
                          },
                      .on_head =
                          [&](const HttpResponse& head) {
                            seen.push_back(std::to_string(head.status) + " " + head.content_type + " " +
                                           std::string(head.Header("X-Kept")) + head.body);
                            return take;
                          },
                      .keep = {"X-Kept", "X-Absent"}};
  auto answer = client->Call(request);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_THAT(seen, ElementsAre("206 a/b 1", "body"));
  EXPECT_EQ(answer->Header("X-Kept"), "1") << "of several the first";
  EXPECT_EQ(answer->Header("X-Absent"), "");
  EXPECT_EQ(answer->Header("X-Other"), "") << "nobody asked for it";
  seen.clear();
  request.target = "/none";
  ASSERT_TRUE(client->Call(request));
  EXPECT_THAT(seen, ElementsAre("204  1")) << "also without a body";
  seen.clear();
  request.target = "/fails";
  answer = client->Call(request);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->body, "no");
  EXPECT_THAT(seen, IsEmpty());
  request.target = "/some";
  take = false;
  answer = client->Call(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, CSB_E_CANCELLED);
  EXPECT_THAT(seen, ElementsAre("206 a/b 1"));
}

// ---- Requests whose body comes piece by piece.

// The head of a request and the bytes of its chunks; `data` is called with each that came.
struct Upload {
  std::string head, body;
  bool whole = false;

  Upload(Peer& peer, const std::function<bool(const Upload&)>& data) {
    head = peer.Request();
    while (const auto chunk = peer.Chunk()) {
      whole = chunk->empty();
      body += *chunk;
      if (whole || !data(*this)) return;
    }
  }
};

TEST_F(HttpStream, AnUploadGoesAsItComes) {
  const std::string rest = Bytes(4 << 20);
  Gate arrived, asked;
  std::string head, body;
  testing::FakeServer server([&](Peer& peer) {
    bool first = false;
    Upload upload(peer, [&](const Upload& so_far) {
      if (so_far.body == "first" && !std::exchange(first, true)) arrived.Knock();
      return true;
    });
    head = upload.head;
    body = upload.body;
    EXPECT_TRUE(upload.whole);
    peer.Send(Answer(R"({"size":1})"));
    UntilGone(peer);
  });
  auto client = Client(server.endpoint());
  std::mutex mutex;
  std::string waiting = "first";
  bool ended = false;
  Outcome outcome;
  const auto id = Start(*client,
                        {.method = "POST",
                         .target = "/file",
                         .headers = {"Content-Type: application/octet-stream"},
                         .timeout = 1s,  // of silence that is not ours
                         .source =
                             [&](char* to, size_t room) {
                               const std::lock_guard lock(mutex);
                               if (waiting.empty() && !ended) {
                                 asked.Knock();
                                 return HttpRequest::kLater;
                               }
                               const size_t n = waiting.copy(to, room);
                               waiting.erase(0, n);
                               return n;
                             }},
                        &outcome);
  ASSERT_TRUE(arrived.Wait(1)) << "before there is more of it";
  ASSERT_TRUE(asked.Wait(1));
  EXPECT_EQ(outcome.wait_for(1500ms), std::future_status::timeout) << "who waits for us does not stall";
  {
    const std::lock_guard lock(mutex);
    waiting = rest;
    ended = true;
  }
  client->Resume(id);
  const auto answer = outcome.get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, R"({"size":1})");
  EXPECT_TRUE(body == "first" + rest);
  EXPECT_THAT(head, StartsWith("POST /file HTTP/1.1\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nTransfer-Encoding: chunked\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nContent-Type: application/octet-stream\r\n"));
  EXPECT_THAT(head, ::testing::Not(HasSubstr("Expect")));
}

TEST_F(HttpStream, AnUploadOfNothingIsWhole) {
  std::promise<bool> whole;
  testing::FakeServer server([&](Peer& peer) {
    whole.set_value(Upload(peer, [](const Upload&) { return true; }).whole);
    peer.Send(Answer("{}"));
    UntilGone(peer);
  });
  auto answer =
      Client(server.endpoint())->Call({.method = "POST", .target = "/", .source = [](char*, size_t) {
                                         return size_t{0};
                                       }});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_TRUE(whole.get_future().get());
}

// The server must see that it is not whole.
TEST_F(HttpStream, ABrokenUploadIsCutOff) {
  for (const bool cancel : {false, true}) {
    std::promise<bool> whole;
    std::string body;
    Gate asked;
    testing::FakeServer server([&](Peer& peer) {
      Upload upload(peer, [](const Upload&) { return true; });
      body = upload.body;
      whole.set_value(upload.whole);
    });
    auto client = Client(server.endpoint());
    int pieces = 0;
    Outcome outcome;
    const auto id = Start(*client,
                          {.method = "POST",
                           .target = "/",
                           .source =
                               [&](char* to, size_t) {
                                 if (pieces++ == 0) {
                                   std::memcpy(to, "half", 4);
                                   return size_t{4};
                                 }
                                 asked.Knock();
                                 return cancel ? HttpRequest::kLater : HttpRequest::kBroken;
                               }},
                          &outcome);
    ASSERT_TRUE(asked.Wait(1));
    if (cancel) client->Cancel(id);
    const auto answer = outcome.get();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, CSB_E_CANCELLED);
    client.reset();
    EXPECT_FALSE(whole.get_future().get());
    EXPECT_TRUE(!cancel || body == "half") << body;
  }
}

// A server that has enough says so before it has all.
TEST_F(HttpStream, AnErrorThatComesEarlyIsTheAnswer) {
  for (const bool paused : {true, false}) {
    std::promise<void> gone;
    testing::FakeServer server([&](Peer& peer) {
      Upload(peer, [](const Upload& so_far) { return so_far.body.empty(); });
      peer.Send("HTTP/1.1 413 Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
      while (peer.Chunk()) continue;  // until the client hangs up
      gone.set_value();
    });
    auto client = Client(server.endpoint());
    int pieces = 0;
    auto answer =
        client->Call({.method = "POST", .target = "/", .timeout = 20s, .source = [&](char* to, size_t room) {
                        if (paused && pieces++ > 0) return HttpRequest::kLater;
                        std::memset(to, 'x', room);
                        return room;
                      }});
    ASSERT_TRUE(answer) << paused << answer.error().message;
    EXPECT_EQ(answer->status, 413);
    EXPECT_EQ(answer->body, "{}");
    EXPECT_EQ(gone.get_future().wait_for(20s), std::future_status::ready);
  }
}

// ---- What is sent again.

// Answers the first request of a connection; the second is read, and the connection closed.
class Forgetful {
 public:
  explicit Forgetful(Kind kind = Kind::kUnix)
      : server_(
            [this](Peer& peer) {
              for (int n = 0;; ++n) {
                const std::string request = peer.Request();
                if (request.empty()) return;
                {
                  const std::lock_guard lock(mutex_);
                  seen_.push_back(request.substr(0, request.find(" HTTP")));
                }
                if (n == 1) return;
                peer.Send(Answer("{}"));
              }
            },
            kind) {}
  const HttpEndpoint& endpoint() const { return server_.endpoint(); }
  std::vector<std::string> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> seen_;
  testing::FakeServer server_;
};

TEST_F(HttpStream, WhatMayBeDoneOnceIsNotSentAgainByItself) {
  for (const Kind kind : {Kind::kUnix, Kind::kTcp}) {
    Forgetful server(kind);
    auto client = Client(server.endpoint());
    ASSERT_TRUE(client->Call({.target = "/first"}));
    int begun = 0;
    const auto answer = client->Call(
        {.method = "POST", .target = "/run", .body = "{}", .on_begin = [&] { ++begun; }, .once = true});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, CSB_E_UNAVAILABLE);
    EXPECT_TRUE(answer.error().retryable);
    EXPECT_EQ(answer.error().message, "POST /run: the server closed the connection without an answer");
    EXPECT_EQ(begun, 1);
    EXPECT_THAT(server.seen(), ElementsAre("GET /first", "POST /run"));
    EXPECT_TRUE(client->Call({.target = "/after"}));
  }
}

TEST_F(HttpStream, OthersAreSentAgainOnANewConnection) {
  Forgetful server;
  auto client = Client(server.endpoint());
  ASSERT_TRUE(client->Call({.target = "/first"}));
  int begun = 0;
  const auto answer =
      client->Call({.method = "POST", .target = "/run", .body = "{}", .on_begin = [&] { ++begun; }});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_THAT(server.seen(), ElementsAre("GET /first", "POST /run", "POST /run"));
  EXPECT_EQ(begun, 2);
}

// A connection that was closed while nothing was sent on it costs nobody an error.
TEST_F(HttpStream, AKeptConnectionThatEndedMeanwhileIsReplaced) {
  std::atomic<int> runs = 0;
  std::promise<void> closed;
  std::atomic<bool> told = false;
  testing::FakeServer server([&](Peer& peer) {
    const std::string request = peer.Request();
    if (request.starts_with("POST")) ++runs;
    if (!request.empty()) peer.Send(Answer("{}"));
    ::shutdown(peer.fd(), SHUT_RDWR);
    if (!told.exchange(true)) closed.set_value();
  });
  auto client = Client(server.endpoint());
  ASSERT_TRUE(client->Call({.target = "/first"}));
  closed.get_future().wait();
  Settle();
  const auto answer = client->Call({.method = "POST", .target = "/run", .body = "{}", .once = true});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(runs, 1);
}

TEST_F(HttpStream, NothingBeginsWithoutAConnection) {
  testing::FakeServer server(UntilGone, Kind::kTcp);
  auto client = Client(server.endpoint());
  server.Stop();
  int begun = 0;
  for (const bool once : {true, false}) {
    const auto answer =
        client->Call({.method = "POST", .target = "/x", .on_begin = [&] { ++begun; }, .once = once});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, CSB_E_UNAVAILABLE);
    EXPECT_THAT(answer.error().message, HasSubstr("Connection refused"));
  }
  EXPECT_EQ(begun, 0);
}

// ---- Through a proxy.

class Proxies : public HttpStream {
 protected:
  Proxies() {
    for (const char* name : kNames)
      if (const char* value = ::getenv(name)) before_[name] = value;
    Clear();
  }
  ~Proxies() override {
    Clear();
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  static void Clear() {
    for (const char* name : kNames) ::unsetenv(name);
  }
  static constexpr const char* kNames[] = {"http_proxy",  "https_proxy", "all_proxy", "no_proxy",
                                           "HTTPS_PROXY", "ALL_PROXY",   "NO_PROXY"};
  std::map<std::string, std::string> before_;
};

TEST_F(Proxies, TheEnvironmentsIsUsedWhereTheEndpointSaysSo) {
  std::mutex mutex;
  std::vector<std::string> at_proxy, at_server;
  const auto serve = [&](std::vector<std::string>& seen) {
    return [&](Peer& peer) {
      for (std::string request; !(request = peer.Request()).empty(); peer.Send(Answer("{}"))) {
        const std::lock_guard lock(mutex);
        seen.push_back(request.substr(0, request.find(" HTTP")));
      }
    };
  };
  testing::FakeServer proxy(serve(at_proxy), Kind::kTcp), server(serve(at_server), Kind::kTcp);
  ::setenv("http_proxy", proxy.endpoint().url.c_str(), 1);
  HttpEndpoint endpoint = server.endpoint();
  ASSERT_TRUE(Client(endpoint)->Call({.target = "/direct"}));
  endpoint.proxy_from_environment = true;
  ASSERT_TRUE(Client(endpoint)->Call({.target = "/through"}));
  ::setenv("no_proxy", "example.org,127.0.0.1", 1);
  ASSERT_TRUE(Client(endpoint)->Call({.target = "/not"}));
  ::unsetenv("no_proxy");
  ::unsetenv("http_proxy");
  ASSERT_TRUE(Client(endpoint)->Call({.target = "/none"}));
  const std::lock_guard lock(mutex);
  EXPECT_THAT(at_proxy, ElementsAre("GET " + server.endpoint().url + "/through"));
  EXPECT_THAT(at_server, ElementsAre("GET /direct", "GET /not", "GET /none"));
}

}  // namespace
}  // namespace csb
