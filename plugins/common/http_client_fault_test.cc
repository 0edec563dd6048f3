// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#include <functional>
#include <future>

#include "plugins/common/http_client.h"
#include "plugins/common/http_fake_server.h"
#include "plugins/common/printable.h"

namespace csb {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Peer = testing::FakeServer::Peer;
using Kind = testing::FakeServer::Kind;
using testing::Answer;

void UntilGone(Peer& peer) {
  while (!peer.Request().empty()) continue;
}

class HttpClientFault : public ::testing::Test {
 protected:
  std::unique_ptr<HttpClient> Client(const HttpEndpoint& endpoint) {
    auto client = HttpClient::Create(*reactor_, endpoint);
    EXPECT_TRUE(client) << client.error().message;
    return *std::move(client);
  }
  // What GET / fails with, on a server that sends this and then closes.
  Error Of(std::string_view sent, HttpRequest request = {.target = "/x?token=1"}) {
    testing::FakeServer server([&](Peer& peer) {
      peer.Request();
      peer.Send(sent);
    });
    return Failed(*Client(server.endpoint()), std::move(request));
  }
  static Error Failed(HttpClient& client, HttpRequest request = {.target = "/x?token=1"}) {
    auto answer = client.Call(std::move(request));
    EXPECT_FALSE(answer);
    return answer ? Error{CSB_OK, "", "", false} : answer.error();
  }
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("http-test");
};

TEST_F(HttpClientFault, SaysWhyNobodyIsReached) {
  testing::FakeServer server(UntilGone), tcp(UntilGone, Kind::kTcp);
  auto client = Client(server.endpoint()), remote = Client(tcp.endpoint());
  const std::string path = server.endpoint().unix_socket;

  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  if (::geteuid() == 0) {  // whom a mode does not stop
    ASSERT_EQ(::chmod(path.substr(0, path.rfind('/')).c_str(), 0755), 0);
    reactor_->Post([] { ::setfsuid(65534); });
  } else {
    ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  }
  Error error = Failed(*client);
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(error.retryable);
  EXPECT_EQ(error.message, "GET /x: connect " + path + ": Permission denied");
  reactor_->Post([] { ::setfsuid(::geteuid()); });

  server.Stop();
  error = Failed(*client);
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_TRUE(error.retryable);
  EXPECT_EQ(error.message, "GET /x: connect " + path + ": Connection refused");

  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_EQ(Failed(*client).message, "GET /x: connect " + path + ": No such file or directory");

  tcp.Stop();
  EXPECT_EQ(Failed(*remote).message, "GET /x: connect " + tcp.endpoint().url + ": Connection refused");
}

TEST_F(HttpClientFault, AnAnswerCutOffIsNone) {
  for (const char* sent :
       {"", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"}) {
    const Error error = Of(sent);
    EXPECT_EQ(error.code, CSB_E_UNAVAILABLE) << sent;
    EXPECT_TRUE(error.retryable) << sent;
    EXPECT_THAT(error.message, ::testing::StartsWith("GET /x: ")) << sent;
  }
}

TEST_F(HttpClientFault, GarbageIsNoAnswer) {
  for (const char* sent : {"SSH-2.0-OpenSSH_9.2\r\n", "hello world\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n"}) {
    const Error error = Of(sent);
    EXPECT_EQ(error.code, CSB_E_UNAVAILABLE) << sent;
    EXPECT_THAT(error.message, HasSubstr("does not speak HTTP")) << sent;
  }
}

TEST_F(HttpClientFault, NothingIsTakenWithoutBound) {
  const std::string header = "X-Filler: " + std::string(1000, 'x') + "\r\n";
  struct {
    std::string first, again;
  } const cases[] = {
      {"HTTP/1.1 200 OK\r\n", header},
      {"HTTP/1.1 200 OK\r\nX-Filler: ", std::string(1000, 'x')},
      {"", "HTTP/1.1 100 Continue\r\n\r\n"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3e8\r\n" + std::string(1000, 'x') + "\r\n"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", std::string(1000, 'x')},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", header},
  };
  for (const auto& [first, again] : cases) {
    testing::FakeServer server([&, first = first, again = again](Peer& peer) {
      peer.Request();
      for (bool more = peer.Send(first); more;) more = peer.Send(again);  // until the client hangs up
    });
    auto client = Client(server.endpoint());
    const Error error = Failed(*client, {.target = "/", .timeout = 60s, .max_body = 100'000});
    EXPECT_EQ(error.code, CSB_E_TOO_LARGE)
        << first.substr(0, 60) << "…" << again.substr(0, 30) << ": " << error.message;
  }
}

TEST_F(HttpClientFault, ABodyOfTheBoundIsTaken) {
  const std::string body(1000, 'b');
  testing::FakeServer server([&](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(Answer(body));
  });
  auto client = Client(server.endpoint());
  auto answer = client->Call({.target = "/", .max_body = 1000});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, body);
  EXPECT_EQ(Failed(*client, {.target = "/", .max_body = 999}).code, CSB_E_TOO_LARGE);
}

TEST_F(HttpClientFault, ASlowAnswerEndsWithTheDeadlineAndOthersGoOn) {
  testing::FakeServer server([](Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();)
      if (!request.starts_with("GET /slow")) peer.Send(Answer("{}"));
  });
  auto client = Client(server.endpoint());
  const Error error = Failed(*client, {.target = "/slow", .timeout = 100ms});
  EXPECT_EQ(error.code, CSB_E_DEADLINE);
  EXPECT_EQ(error.message, "GET /slow: no answer within 100 ms");
  EXPECT_TRUE(client->Call({.target = "/quick"}));
}

TEST_F(HttpClientFault, AStreamMayLastAsLongAsItsPiecesCome) {
  testing::FakeServer server([](Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();) {
      peer.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
      if (request.starts_with("GET /stalls")) continue;
      for (int i = 0; i < 8; ++i) {
        peer.Send("1\r\nx\r\n");
        std::this_thread::sleep_for(300ms);  // together longer than the timeout
      }
      peer.Send("0\r\n\r\n");
    }
  });
  auto client = Client(server.endpoint());
  std::string got;
  HttpRequest request{.target = "/lasts", .timeout = 2s, .on_data = [&](std::string_view piece) {
                        got += piece;
                        return true;
                      }};
  auto answer = client->Call(request);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(got, "xxxxxxxxx");
  request.target = "/stalls";
  request.timeout = 100ms;
  const Error error = Failed(*client, request);
  EXPECT_EQ(error.code, CSB_E_DEADLINE);
  EXPECT_EQ(error.message, "GET /stalls: nothing came for 100 ms");
}

TEST_F(HttpClientFault, ACancelledCallIsDoneAndHangsUp) {
  std::promise<void> asked, hung_up;
  testing::FakeServer server([&](Peer& peer) {
    peer.Request();
    asked.set_value();
    UntilGone(peer);
    hung_up.set_value();
  });
  auto client = Client(server.endpoint());
  std::promise<Result<HttpResponse>> done;
  const auto id = client->Start({.target = "/wait", .timeout = 0ms},
                                [&](Result<HttpResponse> result) { done.set_value(std::move(result)); });
  asked.get_future().wait();
  client->Cancel(id);
  auto result = done.get_future().get();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, CSB_E_CANCELLED);
  hung_up.get_future().wait();
  client->Cancel(id);
}

// Also those that its callbacks start when they are told of the end.
TEST_F(HttpClientFault, ItsEndEndsEveryCall) {
  testing::FakeServer server(UntilGone);
  auto client = Client(server.endpoint());
  HttpClient* raw = client.get();
  std::atomic<int> cancelled = 0;
  std::function<void(int)> start = [&](int more) {
    raw->Start({.target = "/wait", .timeout = 0ms}, [&, more](const Result<HttpResponse>& result) {
      if (!result && result.error().code == CSB_E_CANCELLED) ++cancelled;
      if (more > 0) start(more - 1);
    });
  };
  for (int i = 0; i < 10; ++i) start(99);
  client.reset();
  EXPECT_EQ(cancelled, 1000);
}

TEST_F(HttpClientFault, ARestartedServerIsFoundAgain) {
  const auto serve = [](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(Answer("{}"));
  };
  testing::FakeServer first(serve);
  auto client = Client(first.endpoint());
  ASSERT_TRUE(client->Call({.target = "/"}));
  first.Stop();
  EXPECT_EQ(Failed(*client).code, CSB_E_UNAVAILABLE);
  for (const char* method : {"POST", "GET"}) {
    testing::FakeServer next(serve, Kind::kUnix, first.endpoint().unix_socket);
    auto answer = client->Call({.method = method, .target = "/"});
    EXPECT_TRUE(answer) << answer.error().message;
    next.Stop();
  }
}

// The server closes an idle connection in the moment in which it is used.
TEST_F(HttpClientFault, AConnectionThatDiesWhenUsedAgainIsReplaced) {
  std::atomic<int> requests = 0;
  testing::FakeServer server([&](Peer& peer) {
    peer.Request();
    ++requests;
    peer.Send(Answer("{}"));
    if (!peer.Request().empty()) ++requests;
  });
  auto client = Client(server.endpoint());
  ASSERT_TRUE(client->Call({.target = "/"}));
  auto answer = client->Call({.method = "POST", .target = "/create", .body = "{}"});
  EXPECT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(requests, 3);
  EXPECT_EQ(server.connections(), 2);
}

TEST_F(HttpClientFault, AFullQueueIsWaitedFor) {
  char folder[] = "/tmp/csb-http-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/s";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* at = reinterpret_cast<const sockaddr*>(&address);
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), at, sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  std::vector<UniqueFd> before;
  for (int connected = 0; connected == 0;) {
    before.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    connected = ::connect(before.back().get(), at, sizeof address);
  }
  ASSERT_EQ(errno, EAGAIN);
  auto client = Client({.url = "http://engine", .unix_socket = path});
  std::promise<Result<HttpResponse>> done;
  client->Start({.target = "/", .timeout = 60s}, [&](auto result) { done.set_value(std::move(result)); });
  std::promise<void> tried;
  reactor_->Post([&] { tried.set_value(); });
  tried.get_future().wait();
  for (size_t i = 1; i < before.size(); ++i) UniqueFd(::accept(listener.get(), nullptr, nullptr));
  UniqueFd accepted(::accept(listener.get(), nullptr, nullptr));
  Peer peer(accepted.get());
  EXPECT_NE(peer.Request(), "");
  peer.Send(Answer("{}"));
  auto result = done.get_future().get();
  EXPECT_TRUE(result) << result.error().message;
  ::unlink(path.c_str());
  ::rmdir(folder);
}

TEST_F(HttpClientFault, NoProgramThatIsStartedInheritsAConnection) {
  testing::FakeServer server([](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(Answer("{}"));
  });
  auto client = Client(server.endpoint());
  ASSERT_TRUE(client->Call({.target = "/"}));
  int found = 0;
  for (int fd = 0; fd < 256; ++fd) {
    sockaddr_un peer{};
    socklen_t size = sizeof peer;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0 || peer.sun_family != AF_UNIX)
      continue;
    if (server.endpoint().unix_socket != peer.sun_path) continue;
    ++found;
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_EQ(found, 1);
}

TEST_F(HttpClientFault, WhatWouldBecomeAnotherRequestIsRefused) {
  testing::FakeServer server(UntilGone);
  auto client = Client(server.endpoint());
  for (const HttpRequest& request :
       {HttpRequest{.method = "GET /a HTTP/1.1\r\n", .target = "/"}, HttpRequest{.target = "/a b"},
        HttpRequest{.target = "/a\r\nX: y"}, HttpRequest{.target = "a"}, HttpRequest{.target = ""},
        HttpRequest{.target = "/", .headers = {"A: b\r\nC: d"}},
        HttpRequest{.target = "/", .headers = {"A"}}})
    EXPECT_EQ(Failed(*client, request).code, CSB_E_INVALID) << request.method << request.target;
  EXPECT_EQ(server.connections(), 0);
  for (const HttpEndpoint& endpoint :
       {HttpEndpoint{.url = "ssh://host"}, HttpEndpoint{.url = "http://"}, HttpEndpoint{.url = "http://a/b"},
        HttpEndpoint{.url = "http://a", .unix_socket = "relative"},
        HttpEndpoint{.url = "http://a", .unix_socket = "/" + std::string(200, 'x')},
        HttpEndpoint{.url = "https://a", .certificate = "/cert"}})
    EXPECT_FALSE(HttpClient::Create(*reactor_, endpoint)) << endpoint.url;
}

TEST(Printable, IsOneBoundedLineOfText) {
  EXPECT_EQ(Printable("a\nb\x1b[2Jc\x7f\r\n", 100), "a b [2Jc");
  EXPECT_EQ(Printable("\xff\xc2\x9bx\xc3\xa4", 100), "\xEF\xBF\xBD x\xc3\xa4");
  EXPECT_EQ(Printable("ab\xc3\xa4", 3), "ab…");
  EXPECT_EQ(Printable("abc", 3), "abc");
}

}  // namespace
}  // namespace csb
