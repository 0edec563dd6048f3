// SPDX-License-Identifier: Apache-2.0
//
// exec_frames.h: what an engine's stream without a terminal consists of: frames of
// `type 0 0 0 length_be32 payload` (Docker Engine API, "Attach to a container", stream format).
//
//   std::string_view input = piece;             // any cut of the stream; not copied
//   for (;;) {
//     auto part = reader.Next(input);           // takes from input what it returns
//     if (!part) return part.error();           // no such stream
//     if (!*part) break;                        // input is used up
//     if ((*part)->stream == MultiplexedReader::kStdout) Write((*part)->bytes);
//   }
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::docker {

class MultiplexedReader {
 public:
  static constexpr uint8_t kStdout = 1, kStderr = 2;
  struct Part {
    uint8_t stream;          // kStdout or kStderr
    std::string_view bytes;  // never empty; of one frame, but not always the whole of it
  };

  // Keeps at most a header. After an error it is of no use.
  Result<std::optional<Part>> Next(std::string_view& input);

 private:
  std::array<unsigned char, 8> header_{};
  size_t filled_ = 0;  // bytes of the header that are there
  uint32_t left_ = 0;  // of the payload
  uint8_t stream_ = 0;
};

}  // namespace csb::docker
