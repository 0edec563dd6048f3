// SPDX-License-Identifier: Apache-2.0
//
// agent_channel_impl.h: the state behind AgentChannel; not for users. agent_channel.cc has what
// callers do on their own threads, agent_channel_read.cc what the reactor's thread does.
//
// One mutex guards the streams and what waits for the socket. Only the reactor's thread reads,
// calls sinks and takes streams away, so a sink that was found there stays alive while it is
// called without the mutex.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "agent/protocol/frame.h"
#include "plugins/common/agent_channel.h"

namespace csb {

// Credit goes out in pieces of this size, unless the agent has less left: a small output then
// costs no frame of its own.
inline constexpr uint64_t kCreditPiece = 64 << 10;

inline uint64_t AddCapped(uint64_t a, uint64_t b) {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max() : a + b;
}

struct AgentChannel::Impl {
  using Kind = protocol::Kind;
  using Clock = Reactor::Clock;

  struct Stream {
    AgentSink* sink = nullptr;
    std::string op;
    bool input_open = false;
    uint64_t credit = 0;          // output the agent may still send, as far as it was told
    uint64_t held_credit = 0;     // granted by the sink's side, not told yet
    uint64_t input_credit = 0;    // passed on to the sink's side, not used yet
    uint64_t input_withheld = 0;  // granted by the agent, not passed on
    bool release_posted = false;
    uint64_t event_bytes = 0;
    bool meta_seen = false;
    uint64_t data_left = 0;  // of what the META event announced
    uint64_t timeout_ms = 0;
    csb_status cancel_cause = CSB_OK;
    bool pinged = false;
    Clock::time_point ping_at = Clock::time_point::max();
    Clock::time_point end_at = Clock::time_point::max();

    Clock::time_point due() const { return pinged ? end_at : ping_at; }
  };

  enum class State { kHello, kReady, kEnding, kEnded };

  Impl(Reactor& r, Options o, Handlers h) : reactor(r), options(std::move(o)), handlers(std::move(h)) {}

  Reactor& reactor;
  const Options options;

  mutable std::mutex mu;
  State state = State::kHello;
  UniqueFd fd;
  Reactor::WatchId watch = 0;
  bool write_broken = false;
  std::string out;  // waits for the socket from out_begin on
  size_t out_begin = 0;
  bool want_write = false;
  std::unordered_map<uint32_t, Stream> streams;
  uint32_t next_stream = 1;
  std::optional<uint64_t> pong_due;  // answer that waits for the queue
  uint64_t ping_value = 0;
  bool ping_out = false;
  Clock::time_point silent_from;              // when the streams that are open began
  std::optional<Clock::time_point> asked_at;  // for a sign of life, that did not come yet
  bool fell_silent = false;
  Reactor::TimerId timer = 0;
  Clock::time_point timer_at = Clock::time_point::max();
  std::optional<Error> end_why;

  // Written on the reactor's thread. The last sign of life; kept only where silence counts.
  std::atomic<Clock::time_point> alive_at{Clock::time_point()};

  // The reactor's thread only.
  bool greeted = false;
  protocol::FrameDecoder decoder;
  bool decoder_grown = false;
  Handlers handlers;
  AgentHello hello;

  size_t queued() const { return out.size() - out_begin; }
  Error Broken(std::string_view what) const {
    return {CSB_E_INTERNAL,
            "the agent of sandbox " + options.name + " broke the protocol: " + std::string(what),
            "the sandbox can't be trusted any longer and is ended", false};
  }

  // ---- writing, with mu held ----

  void WantWrite(bool on) {
    if (want_write == on) return;
    want_write = on;
    reactor.Change(watch, on ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }

  // After a failed write nothing more goes out; reading goes on until the end of what came.
  void BreakWrites() {
    write_broken = true;
    out.clear();
    out_begin = 0;
    ::shutdown(fd.get(), SHUT_RDWR);
  }

  // Sends the parts in order, now or once the socket takes them. False: the socket is broken and
  // the agent has seen nothing of them.
  bool Send(std::array<std::string_view, 3> parts) {
    if (write_broken || !fd) return false;
    size_t sent = 0;
    if (queued() == 0) {
      iovec iov[3];
      msghdr message{};
      message.msg_iov = iov;
      for (const auto& part : parts)
        if (!part.empty()) iov[message.msg_iovlen++] = {const_cast<char*>(part.data()), part.size()};
      ssize_t n;
      do n = ::sendmsg(fd.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
      while (n < 0 && errno == EINTR);
      if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        BreakWrites();
        return false;
      }
      sent = n > 0 ? static_cast<size_t>(n) : 0;
    }
    for (const auto& part : parts) {
      const size_t skip = std::min(sent, part.size());
      sent -= skip;
      out.append(part.substr(skip));
    }
    if (queued() > 0) WantWrite(true);
    return true;
  }

  bool SendFrame(Kind kind, uint8_t flags, uint32_t stream, std::string_view a, std::string_view b = {}) {
    char header[protocol::kHeaderSize];
    protocol::EncodeHeader(header, kind, flags, stream, a.size() + b.size());
    return Send({std::string_view(header, sizeof header), a, b});
  }

  void SendU64(Kind kind, uint32_t stream, uint64_t value) {
    char bytes[8];
    protocol::StoreU64(bytes, value);
    SendFrame(kind, 0, stream, {bytes, sizeof bytes});
  }

  void SendCredit(uint32_t id, Stream& s) {
    // A piece is worth a frame; less than that only when the agent would otherwise run dry.
    if (s.held_credit == 0 || queued() > 0) return;
    if (s.held_credit < kCreditPiece && s.credit > s.held_credit) return;
    const uint64_t bytes = std::exchange(s.held_credit, 0);
    s.credit = AddCapped(s.credit, bytes);
    SendU64(Kind::kCredit, id, bytes);
  }

  void SendCancel(uint32_t id, Stream& s, csb_status cause) {
    if (s.cancel_cause != CSB_OK) return;
    s.cancel_cause = cause;
    SendFrame(Kind::kCancel, 0, id,
              cause == CSB_E_DEADLINE ? R"({"cause":"deadline"})" : R"({"cause":"cancelled"})");
  }

  // ---- deadlines, with mu held ----

  // One is out at most: its answer stands for all that were asked since.
  void Ping() {
    if (!std::exchange(ping_out, true)) SendU64(Kind::kPing, 0, ++ping_value);
  }

  void Ask(Clock::time_point now) {
    asked_at = now;
    Ping();
  }

  void Watch(const std::shared_ptr<AgentChannel>& self, Clock::time_point when) {
    if (when >= timer_at) return;
    if (timer != 0) reactor.CancelTimer(timer);
    timer_at = when;
    timer = reactor.At(when, [weak = std::weak_ptr(self)] {
      if (auto channel = weak.lock()) channel->impl_->OnTimer(channel);
    });
  }

  // ---- on the reactor's thread, without mu ----

  void NoteLife() {
    if (options.silence.count() > 0) alive_at = Clock::now();
  }
  // With mu held: when to look again.
  Clock::time_point CheckSilence(Clock::time_point now);
  void OnTimer(const std::shared_ptr<AgentChannel>& self);
  void OnSocket(uint32_t events);
  void Flush();
  Status OnFrame(const protocol::Frame& frame);
  Status OnStreamFrame(const protocol::Frame& frame);
  Status OnOutput(const protocol::Frame& frame);
  Status OnEvent(const protocol::Frame& frame);
  Status OnDone(const protocol::Frame& frame);
  void ReleaseInput(uint32_t id);
  void Finish(Error why);
};

}  // namespace csb
