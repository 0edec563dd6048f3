// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/agent_channel.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "agent/protocol/frame.h"
#include "plugins/common/agent_channel_impl.h"
#include "plugins/common/errno_error.h"

namespace csb {
namespace {

using protocol::Kind;
using Clock = Reactor::Clock;

bool OperationName(std::string_view op) {
  return !op.empty() && op.size() <= 32 &&
         std::all_of(op.begin(), op.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

}  // namespace

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
  auto& s = d.streams[id];
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
  if (d.options.silence.count() > 0) {
    const auto now = Clock::now();
    if (d.streams.size() == 1) d.silent_from = now;
    d.Watch(shared_from_this(), now + d.options.silence);
  }
  return {};
}

Status AgentStream::Input(std::string_view data, bool eof) const {
  if (!channel_) return {};
  AgentChannel::Impl& d = *channel_->impl_;
  std::lock_guard lock(d.mu);
  auto it = d.streams.find(id_);
  if (it == d.streams.end()) return {};
  auto& s = it->second;
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
  auto& s = it->second;
  d.SendCancel(id_, s, cause);
  const auto now = Clock::now();
  s.ping_at = std::min(s.ping_at, now + d.options.cancel_grace);
  s.end_at = std::min(s.end_at, now + d.options.end_grace);
  d.Watch(channel_, s.due());
}

void AgentChannel::Probe() {
  Impl& d = *impl_;
  const std::lock_guard lock(d.mu);
  if (d.options.silence.count() <= 0 || d.state != Impl::State::kReady || d.asked_at) return;
  d.Ask(Clock::now());
  d.Watch(shared_from_this(), *d.asked_at + d.options.silence);
}

void AgentChannel::Nudge() {
  Impl& d = *impl_;
  const std::lock_guard lock(d.mu);
  if (d.options.silence.count() > 0 && d.state == Impl::State::kReady) d.Ping();
}

bool AgentChannel::HeardSince(Impl::Clock::time_point when) const { return impl_->alive_at.load() >= when; }

bool AgentChannel::silent() const {
  const std::lock_guard lock(impl_->mu);
  return impl_->fell_silent;
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

}  // namespace csb
