// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/channel.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "agent/base/log.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::agent {

using protocol::Frame;
using protocol::Kind;

Channel::Channel(Loop& loop, Fd socket, std::string name, ChannelOwner& owner)
    : loop_(loop), socket_(std::move(socket)), name_(std::move(name)), owner_(owner), flush_(loop, [this] {
        Flush();
      }) {}

bool Channel::Start() {
  return watch_.Start(loop_, socket_.get(), EPOLLIN, [this](uint32_t events) { OnReady(events); });
}

void Channel::Send(Kind kind, uint8_t flags, uint32_t stream, std::string_view payload) {
  if (!open()) return;
  protocol::AppendFrame(out_, kind, flags, stream, payload);
  was_full_ = was_full_ || full();
  // All frames of one round leave in one write.
  if (!blocked_ && !flush_.armed()) flush_.Arm(1);
}

void Channel::SendU64(Kind kind, uint32_t stream, uint64_t value) {
  char bytes[8];
  protocol::StoreU64(bytes, value);
  Send(kind, 0, stream, {bytes, sizeof bytes});
}

void Channel::Close(const std::string& why) {
  if (!open()) return;
  if (!why.empty()) Log("closing the channel %s: %s", name_.c_str(), why.c_str());
  watch_.Stop();
  flush_.Cancel();
  socket_.Reset();
  std::map<uint32_t, StreamHandler*> streams;
  streams.swap(streams_);
  for (auto& [id, handler] : streams) handler->OnDetached();
  owner_.OnClosed(*this);
}

bool Channel::Violation(const std::string& why) {
  Close("the host broke the protocol: " + why);
  return false;
}

void Channel::UpdateEvents() {
  watch_.Set((pending() < kStuffed ? EPOLLIN : 0u) | (blocked_ ? EPOLLOUT : 0u));
}

void Channel::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    blocked_ = false;
    Flush();
  }
  if (open() && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) Read();
}

void Channel::Flush() {
  if (!open() || blocked_) return;
  while (pending() > 0) {
    const ssize_t n = send(socket_.get(), out_.data() + out_begin_, pending(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      blocked_ = true;
      break;
    }
    if (n < 0)
      return Close(errno == EPIPE || errno == ECONNRESET ? "" : std::string("send: ") + strerror(errno));
    out_begin_ += static_cast<size_t>(n);
  }
  if (pending() == 0) {
    // The memory of a burst is given back when nothing is under way: mapping it anew for each frame of a
    // long output costs more than sending that does.
    if (streams_.empty() && out_.capacity() > (64 << 10))
      std::string().swap(out_);
    else
      out_.clear();
    out_begin_ = 0;
  } else if (out_begin_ >= kFull) {
    out_.erase(0, out_begin_);
    out_begin_ = 0;
  }
  UpdateEvents();
  if (was_full_ && pending() < kFull / 2) {
    was_full_ = false;
    std::vector<uint32_t> ids;
    for (auto& [id, handler] : streams_) ids.push_back(id);
    for (const uint32_t id : ids)
      if (auto it = streams_.find(id); it != streams_.end()) it->second->OnRoom();
  }
}

void Channel::Read() {
  static char buffer[256 << 10];  // some frames of a transfer at once; only what is used of it takes memory
  const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return Close(errno == ECONNRESET ? "" : std::string("recv: ") + strerror(errno));
  if (n == 0) return Close("");
  decoder_.Append({buffer, static_cast<size_t>(n)});
  while (auto frame = decoder_.Next())
    if (!Handle(*frame)) return;
  if (decoder_.broken())
    Violation(decoder_.error());
  else if (n < 4096)
    decoder_.Shrink();
}

bool Channel::Handle(const Frame& frame) {
  if (!welcomed_ && frame.kind != Kind::kWelcome) return Violation("WELCOME must come first");
  switch (frame.kind) {
    case Kind::kWelcome: {
      if (welcomed_ || frame.stream != 0) return Violation("a second WELCOME");
      const auto welcome = json::ParseObject(frame.payload);
      if (!welcome) return Violation("WELCOME: " + welcome.error().message);
      const auto proto = json::GetInt(*welcome, "proto");
      if (proto != protocol::kVersion)
        return Violation("protocol version " + std::to_string(proto.value_or(0)) + ", this agent speaks " +
                         std::to_string(protocol::kVersion));
      welcomed_ = true;
      return true;
    }
    case Kind::kOpen:
      return HandleOpen(frame);
    case Kind::kInput:
    case Kind::kCredit:
    case Kind::kCancel:
      return HandleOnStream(frame);
    case Kind::kPing:
      Send(Kind::kPong, 0, frame.stream, frame.payload);
      return true;
    case Kind::kPong:
      return true;
    case Kind::kShutdown:
      owner_.OnShutdown(*this);
      return open();
    default:
      return Violation("a frame of kind " + std::to_string(static_cast<int>(frame.kind)) + " from a host");
  }
}

bool Channel::HandleOpen(const Frame& frame) {
  if (frame.stream <= last_stream_)
    return Violation("OPEN of stream " + std::to_string(frame.stream) + " after " +
                     std::to_string(last_stream_));
  last_stream_ = frame.stream;
  if (!owner_.OnOpen(*this, frame.stream, (frame.flags & protocol::kFlagInputFollows) != 0, frame.payload))
    return Violation("OPEN does not hold a JSON object");
  return open();
}

bool Channel::HandleOnStream(const Frame& frame) {
  if (frame.stream == 0 || frame.stream > last_stream_)
    return Violation("a frame for stream " + std::to_string(frame.stream) + ", which was never opened");
  const auto it = streams_.find(frame.stream);
  // It ended while the frame was on its way.
  if (it == streams_.end()) return true;
  StreamHandler& stream = *it->second;
  if (frame.kind == Kind::kInput) {
    if (!stream.OnInput(frame.payload, (frame.flags & protocol::kFlagEndOfInput) != 0))
      return Violation("INPUT beyond its credit or end on stream " + std::to_string(frame.stream));
  } else if (frame.kind == Kind::kCredit) {
    stream.OnCredit(protocol::LoadU64(frame.payload.data()));
  } else {
    const auto cancel = json::ParseObject(frame.payload);
    if (!cancel) return Violation("CANCEL: " + cancel.error().message);
    stream.OnCancel(json::GetString(*cancel, "cause").value_or("") == "deadline");
  }
  return open();
}

}  // namespace csb::agent
