// SPDX-License-Identifier: Apache-2.0
//
// One mutex guards the streams and what waits for the socket. Only the reactor's thread reads,
// calls sinks and takes streams away, so a sink that was found there stays alive while it is
// called without the mutex.
#include "plugins/common/agent_channel.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/protocol/frame.h"
#include "clara_sandbox/operation.h"
#include "plugins/common/agent_result.h"
#include "plugins/common/errno_error.h"

namespace csb {
namespace {

using protocol::Kind;
using Clock = Reactor::Clock;

// Credit goes out in pieces of this size, unless the agent has less left: a small output then
// costs no frame of its own.
constexpr uint64_t kCreditPiece = 64 << 10;

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

uint64_t AddCapped(uint64_t a, uint64_t b) {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max() : a + b;
}

bool OperationName(std::string_view op) {
  return !op.empty() && op.size() <= 32 &&
         std::all_of(op.begin(), op.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

std::string Seconds(uint64_t ms) {
  std::string text = std::to_string(ms / 1000);
  if (ms % 1000 != 0) text += "." + std::to_string(1000 + ms % 1000).substr(1);
  while (text.find('.') != std::string::npos && text.back() == '0') text.pop_back();
  return text + " s";
}

}  // namespace

struct AgentChannel::Impl {
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
  Reactor::TimerId timer = 0;
  Clock::time_point timer_at = Clock::time_point::max();
  std::optional<Error> end_why;

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

  void Watch(const std::shared_ptr<AgentChannel>& self, Clock::time_point when) {
    if (when >= timer_at) return;
    if (timer != 0) reactor.CancelTimer(timer);
    timer_at = when;
    timer = reactor.At(when, [weak = std::weak_ptr(self)] {
      if (auto channel = weak.lock()) channel->impl_->OnTimer(channel);
    });
  }

  // ---- on the reactor's thread, without mu ----

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

AgentChannel::AgentChannel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AgentChannel::~AgentChannel() = default;

std::shared_ptr<AgentChannel> AgentChannel::Create(Reactor& reactor, UniqueFd fd, Options options,
                                                   Handlers handlers) {
  const auto hello_by = Clock::now() + options.hello_timeout;
  std::shared_ptr<AgentChannel> self(
      new AgentChannel(std::make_unique<Impl>(reactor, std::move(options), std::move(handlers))));
  Impl& d = *self->impl_;
  std::unique_lock lock(d.mu);
  d.fd = std::move(fd);
  const int flags = ::fcntl(d.fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(d.fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    const Error why = ErrnoError("fcntl", "the channel of sandbox " + d.options.name);
    lock.unlock();
    self->End(why);
    return self;
  }
  auto watch = reactor.Watch(d.fd.get(), EPOLLIN, [self](uint32_t events) { self->impl_->OnSocket(events); });
  if (!watch) {
    lock.unlock();
    self->End(watch.error());
    return self;
  }
  d.watch = *watch;
  d.Watch(self, hello_by);
  return self;
}

Status AgentChannel::Start(const AgentOpen& open, AgentSink* sink, AgentStream* stream) {
  Impl& d = *impl_;
  const std::string_view args = open.args.empty() ? std::string_view("{}") : open.args;
  if (!OperationName(open.op)) return Error{CSB_E_BAD_REQUEST, "unknown operation", "", false};
  std::string head = R"({"op":")";
  head.append(open.op).append(R"(","timeout_ms":)").append(std::to_string(open.timeout_ms));
  head.append(R"(,"credit":)").append(std::to_string(open.credit)).append(R"(,"args":)");
  // Large args are not worth a copy, small ones not worth a part of their own.
  if (args.size() <= 4096) head.append(args).append("}");
  const size_t size = args.size() <= 4096 ? head.size() : head.size() + args.size() + 1;
  if (size > protocol::kMaxOpen)
    return Error{CSB_E_TOO_LARGE,
                 "the request has " + std::to_string(args.size()) + " bytes, more than " +
                     std::to_string(protocol::kMaxOpen >> 20) + " MiB",
                 "write the code to a file first and run that", false};

  std::lock_guard lock(d.mu);
  if (d.state != Impl::State::kReady || d.write_broken)
    return Error{CSB_E_NO_SANDBOX, "sandbox " + d.options.name + " is not connected", "", true};
  if (d.streams.size() >= kMaxStreams || d.queued() + size > kMaxQueued || d.next_stream == UINT32_MAX)
    return Error{CSB_E_NO_CAPACITY, "sandbox " + d.options.name + " has too much under way",
                 "wait for what runs, or restart the sandbox", true};
  const uint32_t id = d.next_stream++;
  Stream& s = d.streams[id];
  s.sink = sink;
  s.op = open.op;
  s.input_open = open.input;
  s.credit = open.credit;
  s.timeout_ms = open.timeout_ms;
  // A timeout of centuries is none; it would overflow the clock.
  if (open.timeout_ms > 0 && open.timeout_ms < uint64_t{1} << 40) {
    const auto deadline = Clock::now() + std::chrono::milliseconds(open.timeout_ms);
    s.ping_at = deadline + d.options.cancel_grace;
    s.end_at = deadline + d.options.end_grace;
  }
  stream->channel_ = shared_from_this();
  stream->id_ = id;
  char header[protocol::kHeaderSize];
  protocol::EncodeHeader(header, Kind::kOpen, open.input ? protocol::kFlagInputFollows : 0, id, size);
  head.insert(0, header, sizeof header);
  const bool sent = args.size() <= 4096 ? d.Send({head, {}, {}}) : d.Send({head, args, "}"});
  if (!sent) {
    d.streams.erase(id);
    return Error{CSB_E_NO_SANDBOX, "sandbox " + d.options.name + " is not connected", "", true};
  }
  if (s.ping_at != Clock::time_point::max()) d.Watch(shared_from_this(), s.due());
  return {};
}

Status AgentStream::Input(std::string_view data, bool eof) const {
  if (!channel_) return {};
  AgentChannel::Impl& d = *channel_->impl_;
  std::lock_guard lock(d.mu);
  auto it = d.streams.find(id_);
  if (it == d.streams.end()) return {};
  Stream& s = it->second;
  if (!s.input_open) {
    if (data.empty()) return {};
    return Error{CSB_E_INVALID, "input after its end", "", false};
  }
  if (data.size() > s.input_credit)
    return Error{CSB_E_INVALID, "more input than was granted", "wait for on_input_credit", false};
  if (d.queued() + data.size() > AgentChannel::kMaxQueued) {
    d.BreakWrites();  // the agent grants input and does not take it
    return {};
  }
  s.input_credit -= data.size();
  if (eof) s.input_open = false;
  do {
    const std::string_view piece = data.substr(0, protocol::kMaxData);
    data.remove_prefix(piece.size());
    d.SendFrame(Kind::kInput, eof && data.empty() ? protocol::kFlagEndOfInput : 0, id_, piece);
  } while (!data.empty());
  if (s.input_withheld > 0 && s.input_open && !s.release_posted && d.queued() == 0) {
    s.release_posted = true;
    d.reactor.Post([channel = channel_, id = id_] { channel->impl_->ReleaseInput(id); });
  }
  return {};
}

void AgentStream::Credit(uint64_t bytes) const {
  if (!channel_) return;
  AgentChannel::Impl& d = *channel_->impl_;
  std::lock_guard lock(d.mu);
  auto it = d.streams.find(id_);
  if (it == d.streams.end()) return;
  it->second.held_credit = AddCapped(it->second.held_credit, bytes);
  d.SendCredit(id_, it->second);
}

void AgentStream::Cancel(csb_status cause) const {
  if (!channel_) return;
  AgentChannel::Impl& d = *channel_->impl_;
  std::lock_guard lock(d.mu);
  auto it = d.streams.find(id_);
  if (it == d.streams.end() || it->second.cancel_cause != CSB_OK) return;
  Stream& s = it->second;
  d.SendCancel(id_, s, cause);
  const auto now = Clock::now();
  s.ping_at = std::min(s.ping_at, now + d.options.cancel_grace);
  s.end_at = std::min(s.end_at, now + d.options.end_grace);
  d.Watch(channel_, s.due());
}

void AgentChannel::Shutdown() {
  std::lock_guard lock(impl_->mu);
  if (impl_->state == Impl::State::kReady) impl_->SendFrame(Kind::kShutdown, 0, 0, "{}");
}

void AgentChannel::End(Error why) {
  {
    std::lock_guard lock(impl_->mu);
    if (impl_->state == Impl::State::kEnding || impl_->state == Impl::State::kEnded) return;
    impl_->state = Impl::State::kEnding;
    impl_->end_why = why;
  }
  impl_->reactor.Post([self = shared_from_this(), why = std::move(why)] { self->impl_->Finish(why); });
}

bool AgentChannel::ready() const {
  std::lock_guard lock(impl_->mu);
  return impl_->state == Impl::State::kReady && !impl_->write_broken;
}
size_t AgentChannel::running() const {
  std::lock_guard lock(impl_->mu);
  return impl_->streams.size();
}
const AgentHello& AgentChannel::hello() const { return impl_->hello; }
const std::string& AgentChannel::name() const { return impl_->options.name; }

// ---- the reactor's thread ----

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
    if (frame.flags < CSB_STREAM_STDOUT || frame.flags > CSB_STREAM_DATA || data == RunsProgram(s.op))
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
    if (s.event_bytes > kMaxEventBytes) return Broken("events without end");
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
        if (!ping_out) {
          ping_out = true;
          SendU64(Kind::kPing, 0, ++ping_value);
        }
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
