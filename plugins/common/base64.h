// SPDX-License-Identifier: Apache-2.0
//
// base64.h: the standard alphabet with padding (RFC 4648 §4), by OpenSSL.
// Users of this header link OpenSSL::Crypto.
//
//   std::string text = base64::Encode(bytes);
//   Result<std::string> bytes = base64::Decode(text);   // CSB_E_INVALID: "not valid base64 …"
#pragma once

#include <openssl/evp.h>

#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::base64 {

inline constexpr size_t kMaxBytes = size_t{1} << 30;  // OpenSSL counts in int

// At most kMaxBytes of input.
inline std::string Encode(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL ends it with NUL
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                  reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.pop_back();
  return out;
}

// Line breaks and other spaces are no part of it; padding must be there.
inline Result<std::string> Decode(std::string_view text) {
  const Error bad{CSB_E_INVALID, "not valid base64", "use the standard alphabet with padding, without spaces",
                  false};
  if (text.empty()) return std::string();
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  // OpenSSL forgives spaces around and reads padding as zeros anywhere.
  if (text.size() % 4 != 0 || text.size() > kMaxBytes ||
      text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") <
          text.size() - padding)
    return bad;
  std::string out(text.size() / 4 * 3, '\0');
  const int n =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (n < 0) return bad;
  out.resize(static_cast<size_t>(n) - padding);
  return out;
}

}  // namespace csb::base64
