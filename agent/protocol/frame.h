// SPDX-License-Identifier: Apache-2.0
//
// frame.h: the frames of the agent's channel (docs/agent-protocol.md): an incremental decoder
// that bounds what it holds, and an encoder. The decoder's input is hostile.
//
//   FrameDecoder decoder;
//   decoder.Append(bytes);
//   while (auto frame = decoder.Next()) Handle(*frame);
//   if (decoder.broken()) Close(decoder.error());
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace csb::protocol {

inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kHeaderSize = 12;
inline constexpr size_t kMaxPayload = 1 << 20;
inline constexpr size_t kMaxData = 64 << 10;
// OPEN carries a whole payload of execute, so it alone may be larger.
inline constexpr size_t kMaxOpen = 16 << 20;

enum class Kind : uint8_t {
  kHello = 1,
  kWelcome = 2,
  kOpen = 16,
  kInput = 17,
  kCredit = 18,
  kCancel = 19,
  kOutput = 32,
  kEvent = 33,
  kInputCredit = 34,
  kDone = 35,
  kPing = 48,
  kPong = 49,
  kShutdown = 50,
};

inline constexpr uint8_t kFlagInputFollows = 1;  // OPEN
inline constexpr uint8_t kFlagEndOfInput = 1;    // INPUT

constexpr bool KnownKind(uint8_t kind) {
  switch (static_cast<Kind>(kind)) {
    case Kind::kHello:
    case Kind::kWelcome:
    case Kind::kOpen:
    case Kind::kInput:
    case Kind::kCredit:
    case Kind::kCancel:
    case Kind::kOutput:
    case Kind::kEvent:
    case Kind::kInputCredit:
    case Kind::kDone:
    case Kind::kPing:
    case Kind::kPong:
    case Kind::kShutdown:
      return true;
  }
  return false;
}

constexpr size_t MaxPayload(Kind kind) {
  switch (kind) {
    case Kind::kOpen:
      return kMaxOpen;
    case Kind::kInput:
    case Kind::kOutput:
      return kMaxData;
    case Kind::kCredit:
    case Kind::kInputCredit:
    case Kind::kPing:
    case Kind::kPong:
      return 8;
    default:
      return kMaxPayload;
  }
}

// A view into the decoder's buffer; valid until the next call on the decoder.
struct Frame {
  Kind kind;
  uint8_t flags;
  uint32_t stream;
  std::string_view payload;
};

inline uint32_t LoadU32(const char* p) {
  const auto* b = reinterpret_cast<const unsigned char*>(p);
  return b[0] | b[1] << 8 | b[2] << 16 | static_cast<uint32_t>(b[3]) << 24;
}
inline uint64_t LoadU64(const char* p) { return LoadU32(p) | static_cast<uint64_t>(LoadU32(p + 4)) << 32; }
inline void StoreU32(char* p, uint32_t v) {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<char>(v >> (8 * i));
}
inline void StoreU64(char* p, uint64_t v) {
  StoreU32(p, static_cast<uint32_t>(v));
  StoreU32(p + 4, static_cast<uint32_t>(v >> 32));
}

// The 12 bytes before a payload; for writev without copying the payload.
inline void EncodeHeader(char out[kHeaderSize], Kind kind, uint8_t flags, uint32_t stream, size_t payload) {
  StoreU32(out, static_cast<uint32_t>(payload));
  out[4] = static_cast<char>(kind);
  out[5] = static_cast<char>(flags);
  out[6] = out[7] = 0;
  StoreU32(out + 8, stream);
}

inline void AppendFrame(std::string& out, Kind kind, uint8_t flags, uint32_t stream,
                        std::string_view payload) {
  char header[kHeaderSize];
  EncodeHeader(header, kind, flags, stream, payload.size());
  out.append(header, sizeof header);
  out.append(payload);
}
inline void AppendFrameU64(std::string& out, Kind kind, uint32_t stream, uint64_t value) {
  char bytes[8];
  StoreU64(bytes, value);
  AppendFrame(out, kind, 0, stream, {bytes, sizeof bytes});
}

class FrameDecoder {
 public:
  void Append(std::string_view bytes) {
    if (broken()) return;
    if (begin_ > 0 && (begin_ == buffer_.size() || begin_ >= (64 << 10))) {
      buffer_.erase(0, begin_);
      begin_ = 0;
      // The memory of a large frame is given back once it is dealt with.
      if (buffer_.empty() && buffer_.capacity() > (512 << 10)) std::string().swap(buffer_);
    }
    buffer_.append(bytes);
  }

  // The next whole frame, or nothing when more bytes are needed or the stream is broken.
  std::optional<Frame> Next() {
    if (broken()) return std::nullopt;
    const std::string_view rest = std::string_view(buffer_).substr(begin_);
    if (rest.size() < kHeaderSize) return std::nullopt;
    const uint32_t size = LoadU32(rest.data());
    const auto kind = static_cast<uint8_t>(rest[4]);
    if (!KnownKind(kind)) return Break("unknown frame kind " + std::to_string(kind));
    if (rest[6] != 0 || rest[7] != 0) return Break("reserved bytes of a frame are not 0");
    const size_t limit = MaxPayload(static_cast<Kind>(kind));
    if (size > limit)
      return Break("frame of kind " + std::to_string(kind) + " has " + std::to_string(size) +
                   " bytes, more than " + std::to_string(limit));
    if (limit == 8 && size != 8) return Break("frame of kind " + std::to_string(kind) + " needs 8 bytes");
    if (rest.size() < kHeaderSize + size) return std::nullopt;
    begin_ += kHeaderSize + size;
    return Frame{static_cast<Kind>(kind), static_cast<uint8_t>(rest[5]), LoadU32(rest.data() + 8),
                 rest.substr(kHeaderSize, size)};
  }

  // Gives back what a transfer needed, once nothing of it is left.
  void Shrink() {
    if (begin_ != buffer_.size() || buffer_.capacity() <= (16 << 10)) return;
    std::string().swap(buffer_);
    begin_ = 0;
  }

  bool broken() const { return !error_.empty(); }
  const std::string& error() const { return error_; }
  size_t buffered() const { return buffer_.size() - begin_; }

 private:
  std::optional<Frame> Break(std::string why) {
    error_ = std::move(why);
    buffer_.clear();
    begin_ = 0;
    return std::nullopt;
  }

  std::string buffer_;
  size_t begin_ = 0;
  std::string error_;
};

}  // namespace csb::protocol
