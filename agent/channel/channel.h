// SPDX-License-Identifier: Apache-2.0
//
// channel.h: one connection to a host (docs/agent-protocol.md): decodes and checks what it sends,
// buffers what it is sent, routes frames to the streams. A host that breaks the rules is
// disconnected; one that does not read holds up only its own streams.
//
//   Channel channel(loop, std::move(socket), "control/serve.sock", owner);
//   channel.Send(Kind::kHello, 0, 0, hello);
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "agent/base/fd.h"
#include "agent/base/loop.h"
#include "agent/protocol/frame.h"

namespace csb::agent {

class Channel;

// A stream as its channel sees it.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  // False: more than was granted, or after the end.
  virtual bool OnInput(std::string_view bytes, bool end) = 0;
  virtual void OnCredit(uint64_t bytes) = 0;
  virtual void OnCancel(bool deadline) = 0;
  virtual void OnRoom() = 0;      // the channel can take output again
  virtual void OnDetached() = 0;  // the host is gone; no frame may be sent any more
};

class ChannelOwner {
 public:
  virtual ~ChannelOwner() = default;
  // The stream's number has been checked. False: `payload` is not an object; the channel closes.
  virtual bool OnOpen(Channel& channel, uint32_t stream, bool input, std::string_view payload) = 0;
  virtual void OnShutdown(Channel& channel) = 0;
  // Called once; the channel may be destroyed after this round of the loop.
  virtual void OnClosed(Channel& channel) = 0;
};

class Channel {
 public:
  Channel(Loop& loop, Fd socket, std::string name, ChannelOwner& owner);

  // False: errno says why the socket cannot be watched.
  bool Start();
  void Send(protocol::Kind kind, uint8_t flags, uint32_t stream, std::string_view payload);
  void SendU64(protocol::Kind kind, uint32_t stream, uint64_t value);
  // Output should wait: OnRoom comes to every stream.
  bool full() const { return pending() >= kFull; }
  bool open() const { return static_cast<bool>(socket_); }
  // True once nothing waits to be written.
  bool idle() const { return pending() == 0; }
  void Add(uint32_t stream, StreamHandler& handler) { streams_[stream] = &handler; }
  void Remove(uint32_t stream) { streams_.erase(stream); }
  void Close(const std::string& why);
  void Flush();
  const std::string& name() const { return name_; }

 private:
  static constexpr size_t kFull = 256 << 10;
  static constexpr size_t kStuffed = 4 << 20;  // no more is read from a host that does not read either

  size_t pending() const { return out_.size() - out_begin_; }
  void OnReady(uint32_t events);
  void Read();
  // False: the channel was closed.
  bool Handle(const protocol::Frame& frame);
  bool HandleOpen(const protocol::Frame& frame);
  bool HandleOnStream(const protocol::Frame& frame);
  bool Violation(const std::string& why);
  void UpdateEvents();

  Loop& loop_;
  Fd socket_;
  std::string name_;
  ChannelOwner& owner_;
  Watch watch_;
  Timer flush_;
  protocol::FrameDecoder decoder_;
  std::string out_;
  size_t out_begin_ = 0;
  bool blocked_ = false;  // the socket's buffer is full
  bool was_full_ = false;
  bool welcomed_ = false;
  uint32_t last_stream_ = 0;
  std::map<uint32_t, StreamHandler*> streams_;
};

}  // namespace csb::agent
