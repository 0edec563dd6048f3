// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/event_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>

#include "plugins/common/web_socket_fake_server.h"

namespace csb::incus {
namespace {

using namespace std::chrono_literals;
using csb::testing::Answer;
using csb::testing::FakeServer;
using csb::testing::Served;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Peer = FakeServer::Peer;

constexpr const char* kStarted =
    R"({"type":"lifecycle","timestamp":"2026-01-01T00:00:00Z","metadata":{"action":"instance-started",)"
    R"("source":"/1.0/instances/c1"},"location":"m2","project":"p1"})";

class EventStreamTest : public ::testing::Test {
 protected:
  void Open(const HttpEndpoint& endpoint, EventStream::Options options = {}) {
    options.first_pause = 10ms;
    options.longest_pause = 100ms;
    auto stream =
        EventStream::Open(*reactor_, endpoint, options,
                          {.on_event =
                               [this](const EventStream::Event& event) {
                                 Say(std::string(event.type) + " " + std::string(event.project) + " " +
                                     std::string(event.location) + " " +
                                     std::string(json::GetString(event.metadata, "action").value_or("-")));
                               },
                           .on_open = [this] { Say("open"); },
                           .on_lost = [this](const Error& why) { Say("lost: " + why.message); }});
    ASSERT_TRUE(stream) << stream.error().message;
    stream_ = *std::move(stream);
  }
  void Say(std::string line) {
    EXPECT_TRUE(reactor_->OnThread());
    const std::lock_guard lock(mu_);
    told_.push_back(std::move(line));
    changed_.notify_all();
  }
  std::vector<std::string> Told(size_t count) {
    std::unique_lock lock(mu_);
    changed_.wait_for(lock, 20s, [&] { return told_.size() >= count; });
    return told_;
  }

  std::mutex mu_;
  std::condition_variable changed_;
  std::vector<std::string> told_;
  std::unique_ptr<Reactor> reactor_ = *Reactor::Create("event-test");
  std::unique_ptr<EventStream> stream_;
};

TEST_F(EventStreamTest, TellsEventsAndOpensAgain) {
  std::vector<std::string> targets;
  std::atomic<int> opened{0};
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    targets.push_back(std::string(served.request.target()));
    served.Write(false, kStarted);
    if (++opened < 3) return served.Close(boost::beast::websocket::close_code::going_away, "shutdown");
    served.Write(false, R"({"type":"operation","metadata":{}})");
    served.Read();
  });
  Open(server.endpoint(), {.project = "p 1"});
  const std::vector<std::string> told = Told(9);
  ASSERT_EQ(told.size(), 9u);
  for (const size_t i : {0, 3, 6}) {
    EXPECT_EQ(told[i], "open");
    EXPECT_EQ(told[i + 1], "lifecycle p1 m2 instance-started");
  }
  EXPECT_THAT(told[2], HasSubstr("(1001: shutdown)"));
  EXPECT_THAT(told[5], HasSubstr("(1001: shutdown)"));
  EXPECT_EQ(told[8], "operation   -");
  stream_.reset();
  EXPECT_THAT(targets, ::testing::Each("/1.0/events?type=operation%2Clifecycle&project=p%201"));
}

TEST_F(EventStreamTest, TellsOnceThatNobodyAnswersAndComesBack) {
  std::string path;
  std::promise<std::string> target;
  {
    FakeServer gone([](Peer&) {}, FakeServer::Kind::kUnix,
                    "/tmp/csb-events-test-" + std::to_string(::getpid()));
    path = gone.endpoint().unix_socket;
  }
  Open({.url = "http://incus", .unix_socket = path});
  ASSERT_EQ(Told(1).size(), 1u);
  EXPECT_THAT(Told(1)[0], HasSubstr("lost: Incus daemon not running"));
  FakeServer back(
      [&](Peer& peer) {
        Served served(peer);
        target.set_value(std::string(served.request.target()));
        served.Read();
      },
      FakeServer::Kind::kUnix, path);
  EXPECT_THAT(Told(2), ElementsAre(told_[0], "open"));
  EXPECT_EQ(target.get_future().get(), "/1.0/events?type=operation%2Clifecycle&all-projects=true");
  stream_.reset();
  ::unlink(path.c_str());
}

TEST_F(EventStreamTest, WhatIsNoEventIsLost) {
  const std::string messages[] = {"",
                                  "garbage",
                                  "[]",
                                  R"({"type":7,"metadata":{}})",
                                  R"({"type":"lifecycle"})",
                                  R"({"type":"lifecycle","metadata":[]})",
                                  R"({"type":")" + std::string(300, 'x') + R"(","metadata":{}})",
                                  std::string(100'000, '[')};
  std::atomic<size_t> next{0};
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    const size_t i = next++;
    served.Write(false, i < std::size(messages) ? messages[i] : kStarted);
    served.Read();
  });
  Open(server.endpoint());
  const auto told = Told(2 * std::size(messages) + 2);
  ASSERT_EQ(told.size(), 2 * std::size(messages) + 2);
  for (size_t i = 0; i < std::size(messages); ++i) {
    EXPECT_EQ(told[2 * i], "open");
    EXPECT_EQ(told[2 * i + 1], "lost: what the engine sends as an event is none")
        << messages[i].substr(0, 60);
  }
  EXPECT_EQ(told.back(), "lifecycle p1 m2 instance-started");
}

TEST_F(EventStreamTest, AnEventThatIsTooLargeIsLost) {
  std::atomic<bool> large{true};
  FakeServer server([&](Peer& peer) {
    Served served(peer);
    served.Write(false, large.exchange(false) ? std::string((1 << 20) + 1, ' ') : kStarted);
    served.Read();
  });
  Open(server.endpoint());
  const auto told = Told(4);
  ASSERT_EQ(told.size(), 4u);
  EXPECT_THAT(told[1], HasSubstr("too large"));
  EXPECT_EQ(told[3], "lifecycle p1 m2 instance-started");
}

TEST_F(EventStreamTest, ARefusalAndAHungEngineAreTold) {
  std::atomic<bool> hang{false};
  FakeServer server([&](Peer& peer) {
    while (!peer.Request().empty())
      if (!hang)
        peer.Send(Answer(R"({"type":"error","error":"not authorized","error_code":403})", "403 Forbidden"));
  });
  Open(server.endpoint());
  EXPECT_THAT(Told(1)[0], HasSubstr("not authorized"));
  stream_.reset();
  told_.clear();
  hang = true;
  Open(server.endpoint(), {.limit = 100ms});
  EXPECT_THAT(Told(1)[0], HasSubstr("the Incus daemon did not answer within 100 ms"));
}

TEST_F(EventStreamTest, SilenceIsLost) {
  FakeServer server([](Peer& peer) {
    Served served(peer);
    served.Read();
  });
  Open(server.endpoint(), {.silence = 100ms});
  const auto told = Told(3);
  ASSERT_GE(told.size(), 3u);
  EXPECT_EQ(told[0], "open");
  EXPECT_THAT(told[1], HasSubstr("nothing came for 100 ms"));
  EXPECT_EQ(told[2], "open");
}

TEST_F(EventStreamTest, EndsAtOnceWhileItOpens) {
  std::promise<void> asked;
  FakeServer server([&](Peer& peer) {
    if (!peer.Request().empty()) asked.set_value();
    peer.Request();
  });
  Open(server.endpoint());
  asked.get_future().wait();
  const auto start = std::chrono::steady_clock::now();
  stream_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_TRUE(told_.empty());
}

}  // namespace
}  // namespace csb::incus
