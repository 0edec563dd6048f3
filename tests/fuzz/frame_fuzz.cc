// SPDX-License-Identifier: Apache-2.0
//
// frame_fuzz.cc: the decoder of the agent's channel. The first byte chooses how the rest is cut into pieces;
// whatever the pieces, the same frames have to come out, within their bounds.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "agent/protocol/frame.h"

namespace {

struct Digest {
  size_t frames = 0;
  std::string bytes;
  bool broken = false;
  bool operator==(const Digest&) const = default;
};

Digest Decode(std::string_view input, size_t piece) {
  Digest digest;
  csb::protocol::FrameDecoder decoder;
  while (!input.empty()) {
    decoder.Append(input.substr(0, piece));
    input.remove_prefix(std::min(piece, input.size()));
    while (auto frame = decoder.Next()) {
      if (frame->payload.size() > csb::protocol::MaxPayload(frame->kind)) abort();
      ++digest.frames;
      csb::protocol::AppendFrame(digest.bytes, frame->kind, frame->flags, frame->stream, frame->payload);
    }
  }
  digest.broken = decoder.broken();
  if (digest.broken == decoder.error().empty()) abort();
  if (digest.broken && decoder.buffered() != 0) abort();
  return digest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Digest whole = Decode(input, input.size() + 1);
  if (!(Decode(input, data[0] % 64u + 1) == whole)) abort();
  // What was decoded is what was sent, byte for byte.
  if (input.substr(0, whole.bytes.size()) != whole.bytes) abort();
  return 0;
}
