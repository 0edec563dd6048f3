// SPDX-License-Identifier: Apache-2.0
//
// range.h: `Range: bytes=…` (RFC 9110 §14), one range; a list of ranges, another unit or nonsense
// is as if the field were absent, which the RFC allows.
//
//   auto range = ParseRange("bytes=10-19");          // first 10, last 19
//   auto part = Resolve(*range, size);               // nullopt: 416
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace csb::http {

struct ByteRange {
  uint64_t first = 0;  // of a suffix: 0
  uint64_t last = 0;   // inclusive; UINT64_MAX: to the end
  uint64_t suffix = 0;
  bool is_suffix = false;  // the last `suffix` bytes
};

struct FilePart {
  uint64_t offset = 0;
  uint64_t length = 0;
};

std::optional<ByteRange> ParseRange(std::string_view field);
// The bytes of a file of `size` that the range names; nullopt when it names none.
std::optional<FilePart> Resolve(const ByteRange& range, uint64_t size);

}  // namespace csb::http
