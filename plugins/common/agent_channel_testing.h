// SPDX-License-Identifier: Apache-2.0
//
// agent_channel_testing.h: for tests of the channel: an agent played by the test's thread, and a
// sink that records. Waits are on events, with a bound after which a test fails.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/protocol/frame.h"
#include "clara_sandbox/operation.h"
#include "plugins/common/agent_channel.h"
#include "plugins/common/reactor.h"
#include "plugins/common/unique_fd.h"

namespace csb::testing {

using protocol::Kind;
inline constexpr std::chrono::seconds kPatience{20};

inline constexpr const char* kHelloText =
    R"({"proto":1,"agent":"0.1.0","boot_id":"abcdef0123456789","uptime_ms":3,"separate_uids":true,"running":0})";
// A result of a program, as docs/operations.md has it.
inline std::string ProgramDone(int exit_code = 0, const std::string& cause = "exit") {
  return R"({"code":0,"result":{"exit_code":)" + std::to_string(exit_code) + R"(,"cause":")" + cause +
         R"(","signal":0,"execution_time":0.01,"stdout_bytes":0,"stderr_bytes":0,"stdout_dropped":0,)" +
         R"("stderr_dropped":0,"message":"","hint":""}})";
}

// The other end of the channel.
class FakeAgent {
 public:
  struct Received {
    Kind kind{};
    uint8_t flags = 0;
    uint32_t stream = 0;
    std::string payload;
  };

  explicit FakeAgent(UniqueFd fd) : fd_(std::move(fd)) {}

  void Send(Kind kind, uint8_t flags, uint32_t stream, std::string_view payload) {
    std::string frame;
    protocol::AppendFrame(frame, kind, flags, stream, payload);
    SendRaw(frame);
  }
  void SendU64(Kind kind, uint32_t stream, uint64_t value) {
    std::string frame;
    protocol::AppendFrameU64(frame, kind, stream, value);
    SendRaw(frame);
  }
  void SendRaw(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;  // the channel closed it; what the test asserts will tell
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }

  // The next frame of the host; nothing at the end of the stream or when none comes in time.
  std::optional<Received> Next(std::chrono::milliseconds wait = kPatience) {
    for (;;) {
      if (auto frame = decoder_.Next())
        return Received{frame->kind, frame->flags, frame->stream, std::string(frame->payload)};
      pollfd poll_fd{fd_.get(), POLLIN, 0};
      if (::poll(&poll_fd, 1, static_cast<int>(wait.count())) <= 0) return std::nullopt;
      char buffer[64 << 10];
      const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (n <= 0) return std::nullopt;
      decoder_.Append({buffer, static_cast<size_t>(n)});
    }
  }
  // The next frame, which must be of this kind.
  Received Expect(Kind kind) {
    auto frame = Next();
    if (!frame || frame->kind != kind) {
      ADD_FAILURE() << "expected frame " << static_cast<int>(kind) << ", got "
                    << (frame ? std::to_string(static_cast<int>(frame->kind)) : std::string("none"));
      return {};
    }
    return *std::move(frame);
  }
  void Hello() {
    Send(Kind::kHello, 0, 0, kHelloText);
    Expect(Kind::kWelcome);
  }
  void Close() { fd_.reset(); }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  protocol::FrameDecoder decoder_;
};

// Records; waits.
class RecordingSink : public AgentSink {
 public:
  void OnOutput(uint32_t stream, std::string_view data) override {
    std::lock_guard lock(mu_);
    EXPECT_FALSE(outcome_) << "output after done";
    output_[stream].append(data);
    changed_.notify_all();
  }
  void OnEvent(uint32_t event, std::string_view json) override {
    std::lock_guard lock(mu_);
    EXPECT_FALSE(outcome_) << "event after done";
    events_.emplace_back(event, json);
    changed_.notify_all();
  }
  void OnInputCredit(uint64_t bytes) override {
    std::lock_guard lock(mu_);
    EXPECT_FALSE(outcome_) << "input credit after done";
    input_credit_ += bytes;
    changed_.notify_all();
  }
  void OnDone(AgentOutcome outcome) override {
    std::lock_guard lock(mu_);
    EXPECT_FALSE(outcome_) << "done twice";
    outcome_ = std::move(outcome);
    changed_.notify_all();
  }

  // The outcome; one with CSB_E_INTERNAL and a failed test when none comes in time.
  AgentOutcome Wait() {
    std::unique_lock lock(mu_);
    if (!changed_.wait_for(lock, kPatience, [&] { return outcome_.has_value(); })) {
      ADD_FAILURE() << "the operation does not end";
      return {};
    }
    return *outcome_;
  }
  bool WaitOutput(uint32_t stream, size_t size) {
    std::unique_lock lock(mu_);
    return changed_.wait_for(lock, kPatience, [&] { return output_[stream].size() >= size || outcome_; }) &&
           output_[stream].size() >= size;
  }
  // Waits for credit and takes at most `most` of it.
  uint64_t TakeInputCredit(uint64_t most) {
    std::unique_lock lock(mu_);
    changed_.wait_for(lock, kPatience, [&] { return input_credit_ > 0 || outcome_; });
    const uint64_t bytes = std::min(most, input_credit_);
    input_credit_ -= bytes;
    return bytes;
  }
  uint64_t input_credit() {
    std::lock_guard lock(mu_);
    return input_credit_;
  }
  bool done() {
    std::lock_guard lock(mu_);
    return outcome_.has_value();
  }
  std::string output(uint32_t stream) {
    std::lock_guard lock(mu_);
    return output_[stream];
  }
  std::vector<std::pair<uint32_t, std::string>> events() {
    std::lock_guard lock(mu_);
    return events_;
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  std::string output_[4];
  std::vector<std::pair<uint32_t, std::string>> events_;
  uint64_t input_credit_ = 0;
  std::optional<AgentOutcome> outcome_;
};

// A value another thread sets once.
template <typename T>
class Eventually {
 public:
  void Set(T value) {
    std::lock_guard lock(mu_);
    EXPECT_FALSE(value_) << "set twice";
    value_ = std::move(value);
    changed_.notify_all();
  }
  std::optional<T> Wait(std::chrono::milliseconds wait = kPatience) {
    std::unique_lock lock(mu_);
    changed_.wait_for(lock, wait, [&] { return value_.has_value(); });
    return value_;
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  std::optional<T> value_;
};

// A channel over a socket pair, with the agent's end in the test's hand.
class ChannelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto reactor = Reactor::Create("test");
    ASSERT_TRUE(reactor);
    reactor_ = *std::move(reactor);
  }
  void Connect(AgentChannel::Options options = {}) {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    agent_.emplace(UniqueFd(fds[1]));
    if (options.name.empty()) options.name = "alice-1";
    channel_ = AgentChannel::Create(*reactor_, UniqueFd(fds[0]), options,
                                    {[this](const AgentHello& hello) { ready_.Set(hello); },
                                     [this](const Error& why) { end_.Set(why); }});
  }
  void Ready(AgentChannel::Options options = {}) {
    Connect(options);
    agent_->Hello();
    ASSERT_TRUE(ready_.Wait());
  }
  void TearDown() override {
    if (channel_) {
      channel_->End({CSB_E_CANCELLED, "the test is over", "", false});
      EXPECT_TRUE(end_.Wait()) << "on_end does not come";
    }
    channel_.reset();
    reactor_.reset();
  }

  std::unique_ptr<Reactor> reactor_;
  std::optional<FakeAgent> agent_;
  Eventually<AgentHello> ready_;
  Eventually<Error> end_;
  std::shared_ptr<AgentChannel> channel_;
};

}  // namespace csb::testing
