// SPDX-License-Identifier: Apache-2.0
//
// What an agent sends, on the reactor's thread: checked, then handed to the sinks without the mutex.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "agent/protocol/frame.h"
#include "clara_sandbox/operation.h"
#include "plugins/common/agent_channel_impl.h"
#include "plugins/common/agent_result.h"
#include "plugins/common/errno_error.h"

namespace csb {
namespace {

std::string Seconds(uint64_t ms) {
  std::string text = std::to_string(ms / 1000);
  if (ms % 1000 != 0) text += "." + std::to_string(1000 + ms % 1000).substr(1);
  while (text.find('.') != std::string::npos && text.back() == '0') text.pop_back();
  return text + " s";
}

}  // namespace

void AgentChannel::Impl::OnSocket(uint32_t events) {
  if (events & EPOLLOUT) Flush();
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  const auto scratch = reactor.scratch();
  // No other thread closes the descriptor: Finish does, on this one.
  const ssize_t n = ::recv(fd.get(), scratch.data, scratch.size, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0 && errno != ECONNRESET)
    return Finish(ErrnoError("recv", "the channel of sandbox " + options.name));
  if (n <= 0) return Finish({CSB_E_GONE, "sandbox " + options.name + " ended", "", true});
  NoteLife();
  decoder.Append({scratch.data, static_cast<size_t>(n)});
  while (auto frame = decoder.Next())
    if (Status good = OnFrame(*frame); !good) return Finish(good.error());
  if (decoder.broken()) return Finish(Broken(decoder.error()));
  // A large transfer leaves a large buffer behind; with hundreds of sandboxes that adds up.
  if (n > 4096)
    decoder_grown = true;
  else if (decoder_grown && decoder.buffered() == 0) {
    decoder = protocol::FrameDecoder();
    decoder_grown = false;
  }
}

void AgentChannel::Impl::Flush() {
  std::vector<uint32_t> release;
  {
    std::lock_guard lock(mu);
    while (queued() > 0 && !write_broken) {
      const ssize_t n = ::send(fd.get(), out.data() + out_begin, queued(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
      if (n < 0) {
        BreakWrites();
        break;
      }
      out_begin += static_cast<size_t>(n);
      NoteLife();  // what it has not read yet it can't answer
    }
    if (queued() > 0) {
      if (out_begin > size_t{256} << 10) {
        out.erase(0, out_begin);
        out_begin = 0;
      }
      return;
    }
    out_begin = 0;
    if (out.capacity() > size_t{64} << 10)
      out = std::string();
    else
      out.clear();
    WantWrite(false);
    if (pong_due) SendU64(Kind::kPong, 0, *std::exchange(pong_due, std::nullopt));
    for (auto& [id, s] : streams) {
      SendCredit(id, s);
      if (s.input_withheld > 0) release.push_back(id);
    }
  }
  for (const uint32_t id : release) ReleaseInput(id);
}

Status AgentChannel::Impl::OnFrame(const protocol::Frame& frame) {
  if (!greeted) {
    if (frame.kind != Kind::kHello) return Broken("its first frame is not HELLO");
    auto parsed = ParseHello(frame.payload);
    if (!parsed && parsed.error().code == CSB_E_UNSUPPORTED)
      return Error{CSB_E_UNAVAILABLE, "the agent of sandbox " + options.name + ": " + parsed.error().message,
                   parsed.error().hint, false};
    if (!parsed) return Broken(parsed.error().message);
    hello = *std::move(parsed);
    greeted = true;
    {
      std::lock_guard lock(mu);
      if (state != State::kHello) return {};
      state = State::kReady;
      if (timer != 0) reactor.CancelTimer(std::exchange(timer, 0));
      timer_at = Clock::time_point::max();
      SendFrame(Kind::kWelcome, 0, 0, R"({"proto":1,"host":"clara-sandbox"})");
    }
    if (handlers.on_ready) handlers.on_ready(hello);
    return {};
  }
  switch (frame.kind) {
    case Kind::kOutput:
    case Kind::kEvent:
    case Kind::kInputCredit:
    case Kind::kDone:
      return OnStreamFrame(frame);
    case Kind::kPing: {
      if (frame.stream != 0) return Broken("PING on a stream");
      std::lock_guard lock(mu);
      // One answer waits at most, so that pings without end are no memory without end.
      if (queued() > 0)
        pong_due = protocol::LoadU64(frame.payload.data());
      else
        SendU64(Kind::kPong, 0, protocol::LoadU64(frame.payload.data()));
      return {};
    }
    case Kind::kPong: {
      std::lock_guard lock(mu);
      if (frame.stream != 0 || !ping_out || protocol::LoadU64(frame.payload.data()) != ping_value)
        return Broken("PONG that answers no PING");
      ping_out = false;
      return {};
    }
    default:
      return Broken("a frame of kind " + std::to_string(static_cast<int>(frame.kind)) +
                    ", which it never sends");
  }
}

Status AgentChannel::Impl::OnStreamFrame(const protocol::Frame& frame) {
  switch (frame.kind) {
    case Kind::kOutput:
      return OnOutput(frame);
    case Kind::kEvent:
      return OnEvent(frame);
    case Kind::kDone:
      return OnDone(frame);
    default:
      break;
  }
  {
    std::lock_guard lock(mu);
    auto it = streams.find(frame.stream);
    if (it == streams.end()) return Broken("INPUT_CREDIT on a stream that is not open");
    Stream& s = it->second;
    s.input_withheld = AddCapped(s.input_withheld, protocol::LoadU64(frame.payload.data()));
  }
  ReleaseInput(frame.stream);
  return {};
}

Status AgentChannel::Impl::OnOutput(const protocol::Frame& frame) {
  AgentSink* sink;
  {
    std::lock_guard lock(mu);
    auto it = streams.find(frame.stream);
    if (it == streams.end()) return Broken("OUTPUT on a stream that is not open");
    Stream& s = it->second;
    const bool data = frame.flags == CSB_STREAM_DATA;
    if (frame.flags < CSB_STREAM_STDOUT || frame.flags > CSB_STREAM_DATA || data == PrintsOutput(s.op))
      return Broken("OUTPUT of a kind that " + s.op + " has not");
    if (frame.payload.size() > s.credit) return Broken("output beyond its credit");
    if (data) {
      if (!s.meta_seen || frame.payload.size() > s.data_left) return Broken("more data than it announced");
      s.data_left -= frame.payload.size();
    }
    s.credit -= frame.payload.size();
    SendCredit(frame.stream, s);  // what was held back may be due now
    sink = s.sink;
  }
  if (!frame.payload.empty()) sink->OnOutput(frame.flags, frame.payload);
  return {};
}

Status AgentChannel::Impl::OnEvent(const protocol::Frame& frame) {
  auto event = ParseEvent(frame.flags, frame.payload);
  if (!event) return Broken(event.error().message);
  AgentSink* sink;
  {
    std::lock_guard lock(mu);
    auto it = streams.find(frame.stream);
    if (it == streams.end()) return Broken("EVENT on a stream that is not open");
    Stream& s = it->second;
    s.event_bytes += protocol::kHeaderSize + frame.payload.size();
    if (s.event_bytes > (s.op == "execute" ? kMaxResultBytes : kMaxEventBytes))
      return Broken("events without end");
    if (frame.flags == CSB_EVENT_META) {
      if (s.meta_seen || s.op != "file_read") return Broken("META in the wrong place");
      s.meta_seen = true;
      s.data_left = event->length;
    }
    sink = s.sink;
  }
  if (event->known) sink->OnEvent(frame.flags, frame.payload);
  return {};
}

Status AgentChannel::Impl::OnDone(const protocol::Frame& frame) {
  std::string op;
  {
    std::lock_guard lock(mu);
    auto it = streams.find(frame.stream);
    if (it == streams.end()) return Broken("DONE on a stream that is not open");
    op = it->second.op;
  }
  auto outcome = ParseDone(op, frame.payload);
  if (!outcome) return Broken(outcome.error().message);
  AgentSink* sink;
  {
    std::lock_guard lock(mu);
    auto it = streams.find(frame.stream);
    sink = it->second.sink;
    streams.erase(it);
  }
  sink->OnDone(*std::move(outcome));
  return {};
}

// Passes on what the agent granted, as far as the queue and the window allow; the rest waits.
void AgentChannel::Impl::ReleaseInput(uint32_t id) {
  AgentSink* sink;
  uint64_t bytes;
  {
    std::lock_guard lock(mu);
    auto it = streams.find(id);
    if (it == streams.end()) return;
    Stream& s = it->second;
    s.release_posted = false;
    if (!s.input_open || queued() > 0 || s.input_credit >= kInputWindow) return;
    bytes = std::min(s.input_withheld, kInputWindow - s.input_credit);
    if (bytes == 0) return;
    s.input_withheld -= bytes;
    s.input_credit += bytes;
    sink = s.sink;
  }
  sink->OnInputCredit(bytes);
}

AgentChannel::Impl::Clock::time_point AgentChannel::Impl::CheckSilence(Clock::time_point now) {
  // A sign that came while this thread was kept from reading is one too.
  pollfd waiting{fd.get(), POLLIN, 0};
  if (::poll(&waiting, 1, 0) > 0) alive_at = now;
  if (asked_at && alive_at.load() >= *asked_at) asked_at.reset();
  if (!asked_at) {
    if (streams.empty()) return Clock::time_point::max();
    const auto ask_at = std::max(alive_at.load(), silent_from) + options.silence;
    if (now < ask_at) return ask_at;
    Ask(now);
  }
  fell_silent = now >= *asked_at + options.silence;
  return *asked_at + options.silence;
}

void AgentChannel::Impl::OnTimer(const std::shared_ptr<AgentChannel>& self) {
  std::optional<Error> why;
  {
    std::lock_guard lock(mu);
    timer = 0;
    timer_at = Clock::time_point::max();
    if (state == State::kEnding || state == State::kEnded) return;
    const auto now = Clock::now();
    auto next = Clock::time_point::max();
    if (state == State::kHello) {
      why = Error{CSB_E_UNAVAILABLE, "the agent of sandbox " + options.name + " did not say hello in time",
                  "", true};
    }
    for (auto& [id, s] : streams) {
      if (!s.pinged && now >= s.ping_at) {
        SendCancel(id, s, CSB_E_DEADLINE);
        if (!std::exchange(ping_out, true)) SendU64(Kind::kPing, 0, ++ping_value);
        s.pinged = true;
      }
      if (now >= s.end_at) {
        why = ping_out
                  ? Error{CSB_E_UNAVAILABLE, "the agent of sandbox " + options.name + " does not answer",
                          "the sandbox is ended; the next request makes a new one", false}
                  : Error{CSB_E_INTERNAL,
                          "the agent of sandbox " + options.name + " did not end " + s.op + " when asked to",
                          "the sandbox is ended; the next request makes a new one", false};
        break;
      }
      next = std::min(next, s.due());
    }
    if (!why && state == State::kReady && options.silence.count() > 0) {
      next = std::min(next, CheckSilence(now));
      if (fell_silent)
        why = Error{CSB_E_UNAVAILABLE, "nothing is heard of the sandbox " + options.name + " any more", "",
                    true};
    }
    if (!why && next != Clock::time_point::max()) Watch(self, next);
  }
  if (why) Finish(*std::move(why));
}

void AgentChannel::Impl::Finish(Error why) {
  std::unordered_map<uint32_t, Stream> open;
  UniqueFd closing;
  {
    std::lock_guard lock(mu);
    if (state == State::kEnded) return;
    state = State::kEnded;
    if (end_why) why = *end_why;  // what End() said came first
    open.swap(streams);
    if (timer != 0) reactor.CancelTimer(std::exchange(timer, 0));
    if (watch != 0) reactor.Unwatch(watch);
    closing = std::move(fd);
    out = std::string();
    out_begin = 0;
  }
  const auto now = Clock::now();
  for (auto& [id, s] : open) {
    AgentOutcome outcome;
    outcome.hint = why.hint;
    if (s.cancel_cause != CSB_OK && now >= s.end_at) {
      const bool deadline = s.cancel_cause == CSB_E_DEADLINE;
      outcome.code = s.cancel_cause;
      outcome.message = (deadline ? s.timeout_ms > 0 ? "Execution timed out after " + Seconds(s.timeout_ms)
                                                     : std::string("Execution timed out")
                                  : std::string("cancelled")) +
                        ", and " + why.message;
    } else {
      outcome.code = CSB_E_GONE;
      outcome.message = s.op + ": the sandbox ended while it ran: " + why.message;
    }
    s.sink->OnDone(std::move(outcome));
  }
  Handlers last = std::exchange(handlers, {});
  if (last.on_end) last.on_end(why);
}

}  // namespace csb
