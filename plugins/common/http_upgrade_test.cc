// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/http_upgrade.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

#include "plugins/common/http_fake_server.h"

namespace csb {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Peer = testing::FakeServer::Peer;
using Kind = testing::FakeServer::Kind;

const HttpRequest kStart{.method = "POST",
                         .target = "/exec/1f/start",
                         .headers = {"Content-Type: application/json"},
                         .body = "{}",
                         .timeout = 20s};
constexpr const char* kSwitch = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

std::string ReadUntil(HttpConnection& connection, size_t size) {
  std::string out;
  char buffer[4096];
  while (out.size() < size) {
    auto got = connection.Recv(buffer, sizeof buffer);
    if (!got || (*got && **got == 0)) break;
    if (*got) {
      out.append(buffer, **got);
      continue;
    }
    pollfd wait{connection.fd(), POLLIN, 0};
    if (::poll(&wait, 1, 20'000) != 1) break;
  }
  return out;
}

TEST(HttpUpgrade, TurnsTheConnectionIntoAStream) {
  for (const Kind kind : {Kind::kUnix, Kind::kTcp}) {
    std::string seen;
    testing::FakeServer server(
        [&](Peer& peer) {
          seen = peer.Request();
          peer.Send(std::string(kSwitch) + "early");
          char bytes[4];
          if (::recv(peer.fd(), bytes, sizeof bytes, MSG_WAITALL) == 4)
            peer.Send(std::string(bytes, 4) + " late");
        },
        kind);
    auto answer = Upgrade(server.endpoint(), "tcp", kStart);
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_NE(answer->connection, nullptr);
    EXPECT_EQ(answer->response.status, 101);
    EXPECT_THAT(seen, ::testing::StartsWith("POST /exec/1f/start HTTP/1.1\r\n"));
    EXPECT_THAT(seen,
                HasSubstr("\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"));
    EXPECT_THAT(seen, ::testing::EndsWith("\r\nContent-Length: 2\r\n\r\n{}"));
    EXPECT_EQ(ReadUntil(*answer->connection, 5), "early");
    auto sent = answer->connection->Send("ping");
    ASSERT_TRUE(sent);
    EXPECT_EQ(*sent, 4u);
    EXPECT_EQ(ReadUntil(*answer->connection, 100), "ping late");  // and the end
  }
}

TEST(HttpUpgrade, ARefusalIsAnAnswer) {
  testing::FakeServer server([&](Peer& peer) {
    peer.Request();
    peer.Send(
        "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer.Send("10\r\n{\"message\":\"no\"}\r\n0\r\n\r\n");
    while (!peer.Request().empty()) continue;
  });
  auto answer = Upgrade(server.endpoint(), "tcp", kStart);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->connection, nullptr);
  EXPECT_EQ(answer->response.status, 409);
  EXPECT_EQ(answer->response.content_type, "application/json");
  EXPECT_EQ(answer->response.body, R"({"message":"no"})");
}

TEST(HttpUpgrade, WhatIsNoAnswerIsAnError) {
  const struct {
    std::string sent;
    csb_status code;
    const char* words;
  } cases[] = {
      {"", CSB_E_UNAVAILABLE, "without an answer"},
      {"HTTP/1.1 101 Swi", CSB_E_UNAVAILABLE, "cut off"},
      {"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nhalf", CSB_E_UNAVAILABLE, "cut off"},
      {"SSH-2.0-OpenSSH\r\n\r\n", CSB_E_UNAVAILABLE, "does not speak HTTP"},
      {"HTTP/1.1 101 Up\r\nX: " + std::string(100'000, 'x'), CSB_E_TOO_LARGE, "too large"},
      {"HTTP/1.1 500 Oh\r\nContent-Length: 99999999999\r\n\r\n", CSB_E_TOO_LARGE, "too large"},
  };
  for (const auto& [sent, code, words] : cases) {
    testing::FakeServer server([&, sent = sent](Peer& peer) {
      peer.Request();
      peer.Send(sent);
    });
    auto answer = Upgrade(server.endpoint(), "tcp", kStart);
    ASSERT_FALSE(answer) << sent.substr(0, 60);
    EXPECT_EQ(answer.error().code, code) << answer.error().message;
    EXPECT_THAT(answer.error().message, ::testing::StartsWith("POST /exec/1f/start: "));
    EXPECT_THAT(answer.error().message, HasSubstr(words));
  }
}

TEST(HttpUpgrade, ASlowAnswerEndsWithTheDeadline) {
  testing::FakeServer server([](Peer& peer) {
    while (!peer.Request().empty()) peer.Send("HTTP/1.1 101 ");
  });
  HttpRequest request = kStart;
  request.timeout = 100ms;
  auto answer = Upgrade(server.endpoint(), "tcp", request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, CSB_E_DEADLINE);
  EXPECT_EQ(answer.error().message, "POST /exec/1f/start: no answer within 100 ms");
}

TEST(HttpConnect, ConnectsWithoutAWord) {
  for (const Kind kind : {Kind::kUnix, Kind::kTcp}) {
    testing::FakeServer server(
        [](Peer& peer) {
          char bytes[4];
          if (::recv(peer.fd(), bytes, sizeof bytes, MSG_WAITALL) == 4) peer.Send(std::string(bytes, 4));
        },
        kind);
    auto connection = Connect(server.endpoint(), "GET /x", 20s);
    ASSERT_TRUE(connection) << connection.error().message;
    auto sent = (*connection)->Send("ping");
    ASSERT_TRUE(sent);
    EXPECT_EQ(ReadUntil(**connection, 100), "ping");  // nothing came before it
  }
  auto nobody = Connect({.url = "http://engine", .unix_socket = "/nowhere/x.sock"}, "GET /x", 20s);
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().message, "GET /x: connect /nowhere/x.sock: No such file or directory");
}

// Of a server that accepts and never shakes hands.
TEST(HttpConnect, EndsWithTheTimeoutOrAStop) {
  testing::FakeServer server([](Peer& peer) { peer.Request(); }, Kind::kTcp);
  const HttpEndpoint tls{.url = "https" + server.endpoint().url.substr(4)};
  auto late = Connect(tls, "GET /x", 100ms);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, CSB_E_DEADLINE);
  EXPECT_EQ(late.error().message, "GET /x: no answer within 100 ms");
  std::stop_source stop;
  std::thread stopper([&] {
    while (server.connections() < 2) std::this_thread::yield();
    stop.request_stop();
  });
  auto stopped = Connect(tls, "GET /x", 20s, stop.get_token());
  stopper.join();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, CSB_E_CANCELLED);
}

TEST(HttpUpgrade, SaysWhyNobodyIsReached) {
  auto answer = Upgrade({.url = "http://engine", .unix_socket = "/nowhere/x.sock"}, "tcp", kStart);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().message,
            "POST /exec/1f/start: connect /nowhere/x.sock: No such file or directory");
  HttpRequest bad = kStart;
  bad.target = "/a\r\nb";
  EXPECT_EQ(Upgrade({.url = "http://engine"}, "tcp", bad).error().code, CSB_E_INVALID);
}

}  // namespace
}  // namespace csb
