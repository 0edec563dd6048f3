// SPDX-License-Identifier: Apache-2.0
//
// agent_channel.h: the host's side of the agent's channel (docs/agent-protocol.md): one connected
// byte stream to a sandbox's agent, many operations on it at once.
//
//   auto channel = AgentChannel::Create(reactor, std::move(fd), {.name = "alice-2bd8…"},
//       {.on_ready = [](const AgentHello& hello) { … }, .on_end = [](const Error& why) { … }});
//   …
//   AgentStream stream;
//   Status started = channel->Start({.op = "shell", .args = R"({"command":"id"})", .timeout_ms = 5000,
//                                    .credit = 1 << 20}, &sink, &stream);
//
// Trust: what the agent sends is hostile. A frame that breaks a bound, output beyond its credit,
// a result that has not the shape of docs/operations.md: the channel ends, and its reason names
// the sandbox. Memory held for a channel is bounded by the credits and kMaxQueued.
//
// Threads: every function of AgentChannel and AgentStream may be called from any thread, also from
// inside a sink. Frames are written by the calling thread when the socket takes them at once, so
// that a call costs no thread hop. Sinks and handlers are called on the reactor's thread, never
// from inside a call made here, and those of one stream never overlap.
//
// End: on loss every stream still open is done with CSB_E_GONE, then on_end comes, once. A stream
// that is not done kCancelGrace after its deadline gets CANCEL and the agent a PING; a stream that
// is not done kEndGrace after its deadline, or after its cancel, ends the channel: an agent that
// is hung or does not obey can't be served any longer, and its sandbox should be ended. Where a network
// is between, `silence` tells that the other side is gone though nothing says so. An idle channel sets no
// timer.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/reactor.h"
#include "plugins/common/unique_fd.h"

namespace csb {

// What the agent said of itself; checked for shape, true only as far as the agent is.
struct AgentHello {
  std::string agent;    // version, at most 64 bytes of printable ASCII
  std::string boot_id;  // hex, 1..64 bytes: the same for every connection to one agent
  int64_t uptime_ms = 0;
  bool separate_uids = false;  // user code runs under a uid of its own
  int64_t running = 0;
};

// How an operation ended. For CSB_OK `result` is a checked JSON object, else `message` and `hint` are set.
struct AgentOutcome {
  csb_status code = CSB_E_INTERNAL;
  bool retryable = false;
  std::string result;
  std::string message;
  std::string hint;
};

// Who takes what one operation sends. Must live until OnDone is called; may be deleted inside it.
class AgentSink {
 public:
  virtual void OnOutput(uint32_t stream, std::string_view data) = 0;  // CSB_STREAM_*; takes credit
  virtual void OnEvent(uint32_t event, std::string_view json) = 0;    // CSB_EVENT_*; a checked object
  virtual void OnInputCredit(uint64_t bytes) = 0;                     // as csb_events.on_input_credit
  virtual void OnDone(AgentOutcome outcome) = 0;                      // exactly once and last

 protected:
  ~AgentSink() = default;
};

class AgentChannel;

// A stream that was started. Copies are the same stream; harmless after its end and after the
// channel's. Default made: no stream, every call does nothing.
class AgentStream {
 public:
  AgentStream() = default;
  // At most the credit that OnInputCredit granted, else CSB_E_INVALID and nothing is sent. Not
  // concurrently with itself. eof ends the input.
  Status Input(std::string_view data, bool eof) const;
  void Credit(uint64_t bytes) const;
  // CSB_E_CANCELLED or CSB_E_DEADLINE. The first one counts.
  void Cancel(csb_status cause) const;

 private:
  friend class AgentChannel;
  std::shared_ptr<AgentChannel> channel_;
  uint32_t id_ = 0;
};

struct AgentOpen {
  std::string_view op;         // name, as in docs/operations.md
  std::string_view args = {};  // JSON object, already checked; empty means {}
  uint64_t timeout_ms = 0;     // 0: none; enforced by the agent, and here if it does not
  uint64_t credit = 0;         // bytes of output before the first Credit()
  bool input = false;          // Input() will be called, and end with eof
};

class AgentChannel : public std::enable_shared_from_this<AgentChannel> {
 public:
  static constexpr size_t kMaxQueued = 32 << 20;        // bytes waiting for the socket
  static constexpr uint64_t kInputWindow = 1 << 20;     // input credit passed on at most, a stream
  static constexpr uint64_t kMaxEventBytes = 4 << 20;   // of all events of one stream together
  static constexpr uint64_t kMaxResultBytes = 8 << 20;  // of those of an execute, which shows pictures
  static constexpr size_t kMaxStreams = 4096;           // open at once

  struct Options {
    std::string name;  // the sandbox, for messages
    std::chrono::milliseconds hello_timeout{10'000};
    std::chrono::milliseconds cancel_grace{2'000};
    std::chrono::milliseconds end_grace{4'500};
    // With streams open and nothing received for this long the agent gets a PING; without a byte of it, and
    // none that it took of what waits, for as long again the channel ends. 0: never.
    std::chrono::milliseconds silence{0};
  };
  struct Handlers {
    // HELLO came; Start() works from here on. May be empty.
    std::function<void(const AgentHello&)> on_ready;
    // Once, after every stream is done; nothing follows. `why` says what happened. May be empty.
    std::function<void(const Error& why)> on_end;
  };

  // Takes a connected stream socket (or any other descriptor that send(2) and recv(2) take) and
  // makes it non-blocking. The reactor must outlive the channel's end (on_end). Never null: a
  // descriptor that can't be watched ends the channel at once.
  static std::shared_ptr<AgentChannel> Create(Reactor& reactor, UniqueFd fd, Options options,
                                              Handlers handlers);
  ~AgentChannel();

  // Starts an operation. *stream is set before the first call of the sink, which may come before
  // this has returned. On error the sink is never called and nothing was run: CSB_E_NO_SANDBOX
  // when the channel is not ready or has ended, CSB_E_NO_CAPACITY (retryable) when the agent does
  // not take what is queued, CSB_E_TOO_LARGE for args that no frame holds.
  Status Start(const AgentOpen& open, AgentSink* sink, AgentStream* stream);

  // Asks for a sign of life now, streams or not: none within options.silence ends the channel. Does nothing
  // without such a limit.
  void Probe();
  // Asks likewise, but nothing ends for want of an answer: HeardSince tells of one.
  void Nudge();
  // A sign of life has come since then. Never without such a limit.
  bool HeardSince(std::chrono::steady_clock::time_point when) const;
  bool silent() const;  // ended for want of one

  // Asks the agent to end every process and itself. The end comes through on_end.
  void Shutdown();

  // Ends the channel with this reason: streams get CSB_E_GONE with why.message, then on_end(why).
  // The first reason counts; idempotent.
  void End(Error why);

  bool ready() const;               // between on_ready and the end
  size_t running() const;           // streams open
  const AgentHello& hello() const;  // valid from on_ready on
  const std::string& name() const;

 private:
  friend class AgentStream;
  struct Impl;
  explicit AgentChannel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace csb
