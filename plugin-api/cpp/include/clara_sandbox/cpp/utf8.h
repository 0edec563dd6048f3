// SPDX-License-Identifier: Apache-2.0
//
// utf8.h: valid UTF-8 out of bytes that nobody vouches for (RFC 3629, Unicode 15 §3.9).
#pragma once

#include <string>
#include <string_view>

namespace csb::utf8 {

// Length of the well-formed sequence at the start of `s`; 0 if ill-formed; -1 if `s` ends
// inside a sequence that is well-formed so far.
inline int SequenceLength(std::string_view s) {
  if (s.empty()) return -1;
  const auto b = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char c = b(0);
  if (c < 0x80) return 1;
  int n = 0;
  unsigned char low = 0x80, high = 0xBF;
  if (c >= 0xC2 && c <= 0xDF)
    n = 2;
  else if (c >= 0xE0 && c <= 0xEF) {
    n = 3;
    if (c == 0xE0) low = 0xA0;
    if (c == 0xED) high = 0x9F;
  } else if (c >= 0xF0 && c <= 0xF4) {
    n = 4;
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  for (int i = 1; i < n; ++i) {
    if (static_cast<size_t>(i) >= s.size()) return -1;
    if (b(i) < low || b(i) > high) return 0;
    low = 0x80;
    high = 0xBF;
  }
  return n;
}

inline bool Valid(std::string_view s) {
  while (!s.empty()) {
    const int n = SequenceLength(s);
    if (n <= 0) return false;
    s.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// Decodes a stream piece by piece: a sequence cut by the end of one piece is completed by
// the next; each ill-formed byte becomes U+FFFD.
class StreamDecoder {
 public:
  std::string Decode(std::string_view piece) {
    std::string joined;
    if (!pending_.empty()) {
      joined = std::move(pending_) + std::string(piece);
      pending_.clear();
      piece = joined;
    }
    std::string out;
    out.reserve(piece.size());
    while (!piece.empty()) {
      const int n = SequenceLength(piece);
      if (n > 0) {
        out.append(piece.substr(0, static_cast<size_t>(n)));
        piece.remove_prefix(static_cast<size_t>(n));
      } else if (n < 0) {
        pending_ = std::string(piece);
        break;
      } else {
        out.append("\xEF\xBF\xBD");
        piece.remove_prefix(1);
      }
    }
    return out;
  }
  // At the end of the stream: what was cut becomes U+FFFD.
  std::string Finish() {
    std::string out;
    for (size_t i = 0; i < pending_.size(); ++i) out.append("\xEF\xBF\xBD");
    pending_.clear();
    return out;
  }

 private:
  std::string pending_;
};

inline std::string Clean(std::string_view s) {
  StreamDecoder decoder;
  std::string out = decoder.Decode(s);
  return out + decoder.Finish();
}

}  // namespace csb::utf8
