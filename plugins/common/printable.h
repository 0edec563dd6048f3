// SPDX-License-Identifier: Apache-2.0
//
// printable.h: text that nobody vouches for, as part of a message.
//
//   "the engine says: " + Printable(body, 512)
#pragma once

#include <string>
#include <string_view>

#include "clara_sandbox/cpp/utf8.h"

namespace csb {

// One line of valid UTF-8: control characters become spaces (none at the end), ill-formed bytes U+FFFD. Of
// longer text the first `limit` bytes and "…".
inline std::string Printable(std::string_view text, size_t limit) {
  std::string out;
  bool cut = false;
  while (!text.empty()) {
    const int n = utf8::SequenceLength(text);
    const size_t size = n > 0 ? static_cast<size_t>(n) : 1;
    std::string_view piece = n > 0 ? text.substr(0, size) : std::string_view("\xEF\xBF\xBD");
    const auto first = static_cast<unsigned char>(piece[0]);
    // C0, DEL, and C1 (U+0080..U+009F).
    if (first < 0x20 || first == 0x7F || (first == 0xC2 && static_cast<unsigned char>(piece[1]) < 0xA0))
      piece = " ";
    if (out.size() + piece.size() > limit) {
      cut = true;
      break;
    }
    out.append(piece);
    text.remove_prefix(size);
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return cut ? out + "…" : out;
}

}  // namespace csb
