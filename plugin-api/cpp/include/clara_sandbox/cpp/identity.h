// SPDX-License-Identifier: Apache-2.0
//
// identity.h: user ids, and the names that engines and file systems know them by. The
// encoding is injective for all that matters: a readable slug plus 128 bits of SHA-256 of
// the exact id, so that ids which differ in one byte never share anything.
// Users of this header link OpenSSL::Crypto.
#pragma once

#include <openssl/evp.h>

#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/cpp/utf8.h"

namespace csb {

inline constexpr size_t kMaxUserId = 256;

// A user id is 1..256 bytes of UTF-8 without NUL and control characters (C0, DEL, C1).
inline Status CheckUserId(std::string_view id) {
  const auto bad = [](const char* why) {
    return Error{CSB_E_INVALID, std::string("user_id: ") + why, "", false};
  };
  if (id.empty()) return bad("must not be empty");
  if (id.size() > kMaxUserId) return bad("is longer than 256 bytes");
  if (!utf8::Valid(id)) return bad("is not valid UTF-8");
  for (size_t i = 0; i < id.size(); ++i) {
    const auto c = static_cast<unsigned char>(id[i]);
    const bool c1 = c == 0xC2 && i + 1 < id.size() && static_cast<unsigned char>(id[i + 1]) < 0xA0;
    if (c < 0x20 || c == 0x7F || c1) return bad("has a control character");
  }
  return {};
}

// "alice-2bd806c97f0e00af1a1fc3328fa763a9": at most 57 characters of [a-z0-9-], starts and
// ends with a letter or digit.
inline std::string EngineName(std::string_view id) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(id.data(), id.size(), digest, &size, EVP_sha256(), nullptr);
  std::string name;
  for (char c : id) {
    if (name.size() == 24) break;
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
      name += c;
    else if (!name.empty() && name.back() != '-')
      name += '-';
  }
  if (name.empty()) name = "u";
  if (name.back() != '-') name += '-';
  static constexpr char kHex[] = "0123456789abcdef";
  for (int i = 0; i < 16; ++i) {
    name += kHex[digest[i] >> 4];
    name += kHex[digest[i] & 15];
  }
  return name;
}

}  // namespace csb
