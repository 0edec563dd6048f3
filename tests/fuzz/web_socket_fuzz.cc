// SPDX-License-Identifier: Apache-2.0
//
// web_socket_fuzz.cc: what a client sends on a terminal's WebSocket. The first byte chooses how the rest is
// cut into pieces; whatever the pieces, the same messages and the same end have to come out, within the
// bound.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/http/web_socket_codec.h"

namespace {

constexpr size_t kMost = 300;

struct Heard {
  std::vector<std::pair<csb::http::WebSocketOpcode, std::string>> messages;
  uint16_t error = 0;
  bool operator==(const Heard&) const = default;
};

Heard Read(std::string_view bytes, size_t size) {
  Heard heard;
  csb::http::WebSocketReader reader(kMost);
  while (!bytes.empty() && reader.error() == 0) {
    const std::string_view piece = bytes.substr(0, size);
    bytes.remove_prefix(piece.size());
    reader.Append(piece);
    while (auto message = reader.Next()) {
      if (message->payload.size() > kMost) abort();
      heard.messages.emplace_back(message->opcode, std::move(message->payload));
    }
    // The longest head of a frame is 14 bytes; what is cut in two waits.
    if (reader.error() == 0 && size <= 16 && reader.buffered() > 2 * kMost + 32) abort();
  }
  heard.error = reader.error();
  return heard;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (!(Read(bytes, bytes.size() + 1) == Read(bytes, data[0] % 16u + 1))) abort();
  csb::http::WebSocketAccept(bytes);
  return 0;
}
