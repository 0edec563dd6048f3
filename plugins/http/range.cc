// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/range.h"

#include <algorithm>
#include <charconv>

namespace csb::http {
namespace {

// Digits only; a number too large for 64 bits is the largest one.
bool ParseNumber(std::string_view text, uint64_t& out) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return false;
  if (std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc::result_out_of_range)
    out = UINT64_MAX;
  return true;
}

}  // namespace

std::optional<ByteRange> ParseRange(std::string_view field) {
  if (field.substr(0, 6) != "bytes=") return std::nullopt;
  field.remove_prefix(6);
  const size_t dash = field.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const std::string_view first = field.substr(0, dash), last = field.substr(dash + 1);
  ByteRange range;
  if (first.empty()) {
    range.is_suffix = true;
    range.last = UINT64_MAX;
    return ParseNumber(last, range.suffix) ? std::optional(range) : std::nullopt;
  }
  if (!ParseNumber(first, range.first)) return std::nullopt;
  range.last = UINT64_MAX;
  if (!last.empty() && !ParseNumber(last, range.last)) return std::nullopt;
  if (range.last < range.first) return std::nullopt;
  return range;
}

std::optional<FilePart> Resolve(const ByteRange& range, uint64_t size) {
  if (size == 0) return std::nullopt;
  if (range.is_suffix) {
    if (range.suffix == 0) return std::nullopt;
    const uint64_t length = std::min(range.suffix, size);
    return FilePart{size - length, length};
  }
  if (range.first >= size) return std::nullopt;
  return FilePart{range.first, std::min(range.last, size - 1) - range.first + 1};
}

}  // namespace csb::http
