// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/web_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <optional>
#include <random>
#include <thread>

#include "plugins/common/web_socket_fake_server.h"

namespace csb {
namespace {

using namespace std::chrono_literals;
using testing::Answer;
using ::testing::ElementsAre;
using testing::FakeServer;
using ::testing::HasSubstr;
using testing::Served;
using Peer = FakeServer::Peer;
namespace beast = boost::beast;
namespace websocket = beast::websocket;

// What the handlers were told.
class Told {
 public:
  WebSocket::Handlers Handlers() {
    return {.on_message =
                [this](bool binary, std::string_view message) {
                  Set([&] { messages.push_back((binary ? "b:" : "t:") + std::string(message)); });
                },
            .on_end = [this](const Error& why) { Set([&] { end = why; }); },
            .on_room = [this] { Set([&] { ++rooms; }); }};
  }
  template <typename Function>
  void Set(Function function) {
    const std::lock_guard lock(mu);
    function();
    changed.notify_all();
  }
  template <typename Predicate>
  bool Wait(Predicate predicate) {
    std::unique_lock lock(mu);
    return changed.wait_for(lock, 20s, predicate);
  }
  bool WaitEnd() {
    return Wait([&] { return end.has_value(); });
  }

  std::mutex mu;
  std::condition_variable changed;
  std::vector<std::string> messages;
  std::optional<Error> end;
  int rooms = 0;
};

class WebSocketTest : public ::testing::Test {
 protected:
  std::unique_ptr<WebSocket> Open(const FakeServer& server, WebSocket::Options options = {}) {
    auto answer =
        WebSocket::Open(*reactor_, server.endpoint(), "/1.0/events?a=b", {"X-Test: yes"}, 20s, options);
    EXPECT_TRUE(answer) << answer.error().message;
    if (!answer) return nullptr;
    EXPECT_EQ(answer->response.status, 101);
    EXPECT_NE(answer->socket, nullptr);
    return std::move(answer->socket);
  }
  Error Refused(const FakeServer& server) {
    auto answer = WebSocket::Open(*reactor_, server.endpoint(), "/x?secret=1", {}, 20s);
    EXPECT_FALSE(answer);
    return answer ? Error{} : answer.error();
  }
  Told told_;
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("ws-test");
};

TEST_F(WebSocketTest, EchoesMessagesOfEverySize) {
  beast::http::request<beast::http::string_body> request;
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    request = served.request;
    served.Echo();
  });
  auto socket = Open(server);
  ASSERT_NE(socket, nullptr);
  socket->Start(told_.Handlers());
  std::vector<std::string> expected;
  std::minstd_rand random(7);
  for (const size_t size : {0u, 1u, 125u, 126u, 4096u, 65535u, 65536u, 200'000u}) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    while (!socket->Send(true, bytes)) std::this_thread::yield();
    expected.push_back("b:" + bytes);
  }
  while (!socket->Send(false, "plain text")) std::this_thread::yield();
  expected.push_back("t:plain text");
  ASSERT_TRUE(told_.Wait([&] { return told_.messages.size() == expected.size(); }));
  EXPECT_TRUE(told_.messages == expected);
  EXPECT_EQ(request.target(), "/1.0/events?a=b");
  EXPECT_EQ(request["Host"], "engine");
  EXPECT_EQ(request["X-Test"], "yes");
  EXPECT_THAT(std::string(request["User-Agent"]), ::testing::StartsWith("clara-sandbox/"));
  EXPECT_EQ(request.count("Sec-WebSocket-Extensions"), 0u);
}

TEST_F(WebSocketTest, PutsFragmentsTogetherAndAnswersPings) {
  std::promise<std::string> pong;
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    served.socket.control_callback([&](websocket::frame_type type, beast::string_view payload) {
      if (type == websocket::frame_type::pong) pong.set_value(std::string(payload));
    });
    served.socket.text(true);
    for (const char* part : {"one ", "two "}) served.socket.write_some(false, boost::asio::buffer(part, 4));
    served.socket.ping("are you there");
    served.socket.write_some(true, boost::asio::buffer("three", 5));
    served.Read();
  });
  auto socket = Open(server);
  ASSERT_NE(socket, nullptr);
  socket->Start(told_.Handlers());
  ASSERT_TRUE(told_.Wait([&] { return !told_.messages.empty(); }));
  EXPECT_THAT(told_.messages, ElementsAre("t:one two three"));
  auto got = pong.get_future();
  ASSERT_EQ(got.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(got.get(), "are you there");
}

TEST_F(WebSocketTest, AMessageThatIsTooLargeIsTheEnd) {
  std::promise<uint16_t> closed;
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    served.Write(true, std::string(1000, 'x'));
    served.socket.auto_fragment(false);
    served.Write(true, std::string(1001, 'x'));
    served.Read();
    closed.set_value(served.socket.reason().code);
  });
  auto socket = Open(server, {.max_message = 1000});
  ASSERT_NE(socket, nullptr);
  socket->Start(told_.Handlers());
  ASSERT_TRUE(told_.WaitEnd());
  EXPECT_EQ(told_.messages.size(), 1u);
  EXPECT_EQ(told_.end->code, CSB_E_TOO_LARGE);
  EXPECT_EQ(told_.end->message, "GET /1.0/events: a message is larger than 1000 bytes");
  EXPECT_EQ(closed.get_future().get(), 1009);
}

TEST_F(WebSocketTest, ARefusalIsAnAnswer) {
  FakeServer server([](Peer& peer) {
    while (!peer.Request().empty()) peer.Send(Answer(R"({"error":"not for you"})", "403 Forbidden"));
  });
  auto answer = WebSocket::Open(*reactor_, server.endpoint(), "/x", {}, 20s);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->socket, nullptr);
  EXPECT_EQ(answer->response.status, 403);
  EXPECT_EQ(answer->response.content_type, "application/json");
  EXPECT_EQ(answer->response.body, R"({"error":"not for you"})");
}

TEST_F(WebSocketTest, WhatIsNoHandshakeIsAnError) {
  const struct {
    std::string sent;
    csb_status code;
    const char* words;
  } cases[] = {
      {"", CSB_E_UNAVAILABLE, "GET /x: the connection was cut off"},
      {"HTTP/1.1 101 Swi", CSB_E_UNAVAILABLE, "GET /x: the connection was cut off"},
      {"SSH-2.0-OpenSSH\r\n\r\n", CSB_E_UNAVAILABLE, "does not speak the websocket protocol"},
      {"HTTP/1.1 101 Up\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
       CSB_E_UNAVAILABLE, "does not speak the websocket protocol"},
      {"HTTP/1.1 500 Oh\r\nContent-Length: 999999\r\n\r\n" + std::string(999'999, 'x'), CSB_E_TOO_LARGE,
       "GET /x: the answer is too large"},
  };
  for (const auto& [sent, code, words] : cases) {
    FakeServer server([&, sent = sent](Peer& peer) {
      peer.Request();
      peer.Send(sent);
    });
    const Error error = Refused(server);
    EXPECT_EQ(error.code, code) << error.message;
    EXPECT_THAT(error.message, HasSubstr(words));
  }
  auto nobody =
      WebSocket::Open(*reactor_, {.url = "http://e", .unix_socket = "/nowhere/x.sock"}, "/x", {}, 20s);
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().message, "GET /x: connect /nowhere/x.sock: No such file or directory");
  auto bad = WebSocket::Open(*reactor_, {.url = "http://e"}, "/x", {"A: b\r\nC: d"}, 20s);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, CSB_E_INVALID);
}

TEST_F(WebSocketTest, AHungHandshakeEndsWithTheLimitOrAStop) {
  std::atomic<int> asked{0};
  FakeServer server([&](Peer& peer) {
    while (!peer.Request().empty()) ++asked;
  });
  auto late = WebSocket::Open(*reactor_, server.endpoint(), "/x", {}, 100ms);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, CSB_E_DEADLINE);
  EXPECT_EQ(late.error().message, "GET /x: no answer within 100 ms");
  std::stop_source stop;
  std::thread stopper([&] {
    while (asked < 2) std::this_thread::yield();
    stop.request_stop();
  });
  auto stopped = WebSocket::Open(*reactor_, server.endpoint(), "/x", {}, 20s, {.stop = stop.get_token()});
  stopper.join();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, CSB_E_CANCELLED);
}

TEST_F(WebSocketTest, SaysHowItEnded) {
  const struct {
    std::function<void(Served&)> end;
    const char* words;
  } cases[] = {
      {[](Served& s) {
         s.socket.close({websocket::close_code::going_away, "restart\n"}, s.code);
       },
       "GET /1.0/events: the server closed the websocket (1001: restart)"},
      {[](Served& s) { s.Raw(std::string("\x82\x7E\x10\x00 half of it", 15)); },
       "GET /1.0/events: the connection was cut off"},
      {[](Served&) {}, "GET /1.0/events: the connection was cut off"},
      {[](Served& s) {
         s.Raw(std::string(64, '\xFF'));
         s.Read();
       },
       "GET /1.0/events: what answers does not speak the websocket protocol ("},
      {[](Served& s) {
         s.Raw(std::string("\x81\x02\xC3\x28", 4));  // text that is no UTF-8
         s.Read();
       },
       "GET /1.0/events: what answers does not speak the websocket protocol ("},
  };
  for (const auto& each : cases) {
    FakeServer server([&](Peer& peer) {
      Served served(peer);
      each.end(served);
    });
    Told told;
    auto socket = Open(server);
    ASSERT_NE(socket, nullptr);
    socket->Start(told.Handlers());
    ASSERT_TRUE(told.WaitEnd());
    EXPECT_EQ(told.end->code, CSB_E_UNAVAILABLE);
    EXPECT_THAT(told.end->message, ::testing::StartsWith(each.words));
    EXPECT_TRUE(told.messages.empty());
    EXPECT_TRUE(socket->Send(true, "into the void"));
  }
}

// The answer to the ping finds nobody.
TEST_F(WebSocketTest, TellsWhatCameBeforeTheEnd) {
  std::promise<void> said;
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    served.socket.ping("keepalive", served.code);
    served.Write(true, "last");
    served.Write(false, "words");
    said.set_value();
  });
  auto socket = Open(server);
  ASSERT_NE(socket, nullptr);
  said.get_future().wait();
  server.Stop();
  EXPECT_TRUE(socket->Send(true, "too late"));
  socket->Start(told_.Handlers());
  ASSERT_TRUE(told_.WaitEnd());
  EXPECT_THAT(told_.messages, ElementsAre("b:last", "t:words"));
  EXPECT_EQ(told_.end->message, "GET /1.0/events: the connection was cut off");
}

TEST_F(WebSocketTest, SendsNoMoreThanThereIsRoomFor) {
  constexpr size_t kPiece = 32 << 10;
  std::promise<void> go;
  std::atomic<size_t> received{0};
  std::atomic<bool> in_order{true};
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    go.get_future().wait();
    for (char next = 0; !served.code; ++next) {
      const std::string got = served.Read();
      if (served.code) return;
      if (got != std::string(kPiece, next)) in_order = false;
      received += got.size();
      told_.Set([] {});
    }
  });
  auto socket = Open(server, {.max_queue = 4 * kPiece, .write_buffer = 64 << 10});
  ASSERT_NE(socket, nullptr);
  socket->Start(told_.Handlers());
  char next = 0;
  size_t sent = 0;
  // The server's side takes some, then the queue is full; it takes nothing for itself.
  for (; sent < (64u << 20) && socket->Send(true, std::string(kPiece, next)); sent += kPiece) ++next;
  ASSERT_LT(sent, 64u << 20);
  EXPECT_FALSE(socket->Send(true, "x"));
  EXPECT_EQ(told_.rooms, 0);
  go.set_value();
  for (int rounds = 1; rounds <= 50; ++rounds) {
    ASSERT_TRUE(told_.Wait([&] { return told_.rooms == rounds; })) << rounds;
    for (; socket->Send(true, std::string(kPiece, next)); sent += kPiece) ++next;
  }
  ASSERT_TRUE(told_.Wait([&] { return received == sent; })) << received << " of " << sent;
  EXPECT_TRUE(in_order);
}

TEST_F(WebSocketTest, APauseStopsTheServer) {
  std::atomic<int> written{0};
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    for (int i = 0; i < 200 && !served.code; ++i) {
      served.Write(true, std::string(64 << 10, static_cast<char>(i)));
      if (!served.code) ++written;
    }
    served.Read();
  });
  auto socket = Open(server);
  ASSERT_NE(socket, nullptr);
  WebSocket::Handlers handlers = told_.Handlers();
  const auto keep = handlers.on_message;
  handlers.on_message = [&](bool binary, std::string_view message) {
    socket->Pause();
    keep(binary, message);
  };
  socket->Start(handlers);
  ASSERT_TRUE(told_.Wait([&] { return told_.messages.size() == 1; }));
  // Nothing tells that nothing comes; each step of the reactor would have brought it.
  for (int i = 0; i < 100; ++i) {
    std::promise<void> turned;
    reactor_->Post([&] { turned.set_value(); });
    turned.get_future().wait();
  }
  EXPECT_LT(written, 100);
  EXPECT_EQ(told_.messages.size(), 1u);
  for (size_t i = 2; i <= 200; ++i) {
    socket->Resume();
    ASSERT_TRUE(told_.Wait([&] { return told_.messages.size() == i; })) << i;
  }
  for (int i = 0; i < 200; ++i)
    ASSERT_TRUE(told_.messages[static_cast<size_t>(i)] == "b:" + std::string(64 << 10, static_cast<char>(i)));
}

TEST_F(WebSocketTest, ClosesAfterWhatWasSent) {
  std::vector<std::string> got;
  std::promise<uint16_t> closed;
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    served.Write(false, "hello");
    while (!served.code) got.push_back(served.Read());
    closed.set_value(served.socket.reason().code);
  });
  auto socket = Open(server);
  ASSERT_NE(socket, nullptr);
  socket->Start(told_.Handlers());
  ASSERT_TRUE(told_.Wait([&] { return !told_.messages.empty(); }));
  EXPECT_TRUE(socket->Send(true, std::string(100'000, 'a')));
  EXPECT_TRUE(socket->Send(true, "last"));
  socket->Close();
  ASSERT_TRUE(told_.WaitEnd());
  EXPECT_EQ(told_.end->code, CSB_E_CANCELLED);
  EXPECT_EQ(closed.get_future().get(), 1000);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0].size(), 100'000u);
  EXPECT_EQ(got[1], "last");
}

TEST_F(WebSocketTest, AServerThatDoesNotCloseIsLeft) {
  FakeServer server([](Peer& peer) {
    Served served(peer);
    char byte;
    while (::recv(peer.fd(), &byte, 1, 0) == 1) continue;  // takes the frame, never answers
  });
  auto socket = Open(server);
  ASSERT_NE(socket, nullptr);
  socket->Start(told_.Handlers());
  socket->Close();
  ASSERT_TRUE(told_.WaitEnd());
  EXPECT_EQ(told_.end->code, CSB_E_CANCELLED);
}

TEST_F(WebSocketTest, SilenceIsTheEndAndAPingIsNone) {
  std::promise<void> pinged;
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    for (int i = 0; i < 6; ++i) {
      served.socket.ping("", served.code);
      std::this_thread::sleep_for(100ms);
    }
    told_.Set([&] { EXPECT_FALSE(told_.end); });
    pinged.set_value();
    served.Read();
  });
  auto socket = Open(server, {.silence = 400ms});
  ASSERT_NE(socket, nullptr);
  socket->Start(told_.Handlers());
  pinged.get_future().wait();
  ASSERT_TRUE(told_.WaitEnd());
  EXPECT_EQ(told_.end->code, CSB_E_DEADLINE);
  EXPECT_EQ(told_.end->message, "GET /1.0/events: nothing came for 400 ms");
}

TEST_F(WebSocketTest, MayBeDestroyedByItsOwnHandlers) {
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    for (int i = 0; i < 3; ++i) served.Write(true, "message");
    served.Read();
    told_.Set([&] { ++told_.rooms; });  // it is gone
  });
  auto socket = Open(server);
  ASSERT_NE(socket, nullptr);
  WebSocket::Handlers handlers = told_.Handlers();
  const auto keep = handlers.on_message;
  handlers.on_message = [&](bool binary, std::string_view message) {
    keep(binary, message);
    socket.reset();
    told_.Set([&] { ++told_.rooms; });  // this thread has done it
  };
  WebSocket* raw = socket.get();
  raw->Start(handlers);
  ASSERT_TRUE(told_.Wait([&] { return told_.rooms == 2; }));
  EXPECT_EQ(told_.messages.size(), 1u);
  EXPECT_FALSE(told_.end);
}

}  // namespace
}  // namespace csb
