// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/web_socket_codec.h"

#include <openssl/evp.h>

#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/base64.h"

namespace csb::http {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr size_t kMaxControl = 125;

bool Known(uint8_t opcode) { return opcode <= 2 || (opcode >= 8 && opcode <= 10); }

bool GoodClose(std::string_view payload) {
  if (payload.empty()) return true;
  if (payload.size() == 1) return false;
  const unsigned code = static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
  // Those that are not to be sent, and those that nobody has defined.
  const bool reserved = code < 1000 || code == 1004 || code == 1005 || code == 1006 ||
                        (code >= 1012 && code < 3000) || code > 4999;
  return !reserved && utf8::Valid(payload.substr(2));
}

}  // namespace

std::string WebSocketAccept(std::string_view key) {
  const auto bytes = base64::Decode(key);
  if (!bytes || bytes->size() != 16) return {};
  const std::string text = std::string(key) + std::string(kGuid);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr) != 1) return {};
  return base64::Encode({reinterpret_cast<const char*>(digest), size});
}

std::string WebSocketFrame(WebSocketOpcode opcode, std::string_view payload) {
  std::string frame;
  frame.reserve(payload.size() + 10);
  frame += static_cast<char>(0x80 | static_cast<uint8_t>(opcode));
  const uint64_t size = payload.size();
  if (size < 126) {
    frame += static_cast<char>(size);
  } else {
    const int bytes = size <= 0xFFFF ? 2 : 8;
    frame += static_cast<char>(bytes == 2 ? 126 : 127);
    for (int i = bytes - 1; i >= 0; --i) frame += static_cast<char>(size >> (8 * i));
  }
  frame += payload;
  return frame;
}

std::string WebSocketClose(uint16_t code, std::string_view reason) {
  std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xFF)};
  return payload.append(utf8::Clean(reason.substr(0, 100)).substr(0, kMaxControl - 2));
}

std::optional<WebSocketReader::Message> WebSocketReader::Break(uint16_t code) {
  error_ = code;
  buffer_.clear();
  fragments_.clear();
  return std::nullopt;
}

std::optional<WebSocketReader::Message> WebSocketReader::Next() {
  for (;;) {
    if (error_ != 0 || buffer_.size() < 2) return std::nullopt;
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(buffer_[i]); };
    const bool fin = byte(0) & 0x80;
    const uint8_t code = byte(0) & 0x0F;
    // No extension was agreed on, and a client has to mask (§5.2, §5.3).
    if ((byte(0) & 0x70) != 0 || !Known(code) || (byte(1) & 0x80) == 0) return Break(1002);
    const auto opcode = static_cast<WebSocketOpcode>(code);
    const bool control = code >= 8;
    uint64_t size = byte(1) & 0x7F;
    size_t head = 2;
    if (size >= 126) {
      const size_t more = size == 126 ? 2 : 8;
      if (control) return Break(1002);
      if (buffer_.size() < head + more) return std::nullopt;
      size = 0;
      for (size_t i = 0; i < more; ++i) size = size << 8 | byte(head + i);
      head += more;
    }
    if (control && !fin) return Break(1002);
    if (!control && (opcode == WebSocketOpcode::kContinuation) != open_.has_value()) return Break(1002);
    if (size > most_ || (!control && fragments_.size() + size > most_)) return Break(1009);
    if (buffer_.size() < head + 4 + size) return std::nullopt;
    std::string payload = buffer_.substr(head + 4, static_cast<size_t>(size));
    for (size_t i = 0; i < payload.size(); ++i)
      payload[i] = static_cast<char>(payload[i] ^ buffer_[head + i % 4]);
    buffer_.erase(0, head + 4 + static_cast<size_t>(size));
    if (control) {
      if (opcode == WebSocketOpcode::kClose && !GoodClose(payload)) return Break(1002);
      return Message{opcode, std::move(payload)};
    }
    if (!open_) open_ = opcode;
    fragments_ += payload;
    if (!fin) continue;
    Message whole{*open_, std::move(fragments_)};
    fragments_.clear();
    open_.reset();
    if (whole.opcode == WebSocketOpcode::kText && !utf8::Valid(whole.payload)) return Break(1007);
    return whole;
  }
}

}  // namespace csb::http
