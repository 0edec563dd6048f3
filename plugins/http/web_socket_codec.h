// SPDX-License-Identifier: Apache-2.0
//
// web_socket_codec.h: the server's side of RFC 6455 as far as bytes go: the answer to a handshake, frames out
// of what a client sent, frames for it. The input is hostile.
//
//   std::string accept = WebSocketAccept(key);             // Sec-WebSocket-Accept
//   WebSocketReader reader(64 << 10);
//   reader.Append(bytes);
//   while (auto message = reader.Next()) Handle(*message);
//   if (reader.error() != 0) Close(reader.error());        // a close code of §7.4.1
//   out += WebSocketFrame(WebSocketOpcode::kBinary, data);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace csb::http {

enum class WebSocketOpcode : uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10,
};

// base64 of the SHA-1 of the key and the RFC's own text (§4.2.2). Empty: the key is not 16 bytes in base64.
std::string WebSocketAccept(std::string_view key);

// A whole frame without a mask, as servers send them.
std::string WebSocketFrame(WebSocketOpcode opcode, std::string_view payload);
// The payload of a close: a code and words.
std::string WebSocketClose(uint16_t code, std::string_view reason);

class WebSocketReader {
 public:
  // Messages of more bytes break the connection.
  explicit WebSocketReader(size_t most) : most_(most) {}

  struct Message {
    WebSocketOpcode opcode;  // kText, kBinary, kClose, kPing, kPong
    std::string payload;
  };

  void Append(std::string_view bytes) {
    if (error_ == 0) buffer_.append(bytes);
  }
  // The next whole message, fragments put together; nothing when more bytes are needed, or at an error.
  std::optional<Message> Next();
  // 1002, 1007 or 1009 once the client has broken the rules; 0: it has not.
  uint16_t error() const { return error_; }
  size_t buffered() const { return buffer_.size() + fragments_.size(); }

 private:
  std::optional<Message> Break(uint16_t code);

  size_t most_;
  std::string buffer_;
  std::string fragments_;
  std::optional<WebSocketOpcode> open_;  // the opcode of a message whose end is still to come
  uint16_t error_ = 0;
};

}  // namespace csb::http
