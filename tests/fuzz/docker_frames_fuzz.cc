// SPDX-License-Identifier: Apache-2.0
//
// docker_frames_fuzz.cc: the reader of the engine's streams. The first byte chooses how the rest is cut into
// pieces; whatever the pieces, the same bytes have to come out of the same streams.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "plugins/docker/exec_frames.h"

namespace {

struct Digest {
  std::array<std::string, 3> streams;
  bool broken = false;
  bool operator==(const Digest&) const = default;
};

Digest Read(std::string_view stream, size_t size) {
  Digest digest;
  csb::docker::MultiplexedReader reader;
  while (!stream.empty()) {
    std::string_view piece = stream.substr(0, size);
    stream.remove_prefix(piece.size());
    for (;;) {
      const char* before = piece.data();
      auto part = reader.Next(piece);
      if (!part) {
        digest.broken = true;
        return digest;
      }
      if (!*part) break;
      const auto& [kind, bytes] = **part;
      if ((kind != 1 && kind != 2) || bytes.empty()) abort();
      if (bytes.data() < before || bytes.data() + bytes.size() != piece.data()) abort();
      digest.streams[kind].append(bytes);
    }
    if (!piece.empty()) abort();
  }
  return digest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (!(Read(stream, stream.size() + 1) == Read(stream, data[0] % 64u + 1))) abort();
  return 0;
}
