// SPDX-License-Identifier: Apache-2.0
//
// auth.h: API keys. Only SHA-256 digests of keys are held; a presented key is hashed and compared
// with every digest in constant time, so neither memory nor timing tells a key or its length.
//
//   auto ring = LoadKeys(api_key, keys_file);           // at start and on reload
//   if (const Key* key = ring->Find(presented)) …
//   if (!key->Allows(user)) Answer(403);
//
// The keys file has a line a key, `name:key` or `name:key:user,user`; `#` starts a comment line.
// Instead of the key itself `sha256=HEX` may stand. User ids are percent-encoded where they have a
// comma, a space or a `%`. The file must belong to us or root and be closed to everyone else:
// not writable by a group, not readable by others.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::http {

using Digest = std::array<unsigned char, 32>;
Digest Sha256(std::string_view text);

// Browsers cannot send header fields with a WebSocket: the key in the list of Sec-WebSocket-Protocol, as
// "key." and its base64url; empty: there is none.
std::string ProtocolKey(std::string_view protocols);
// Whether the comma-separated list of a header field has this word, of any case.
bool HasWord(std::string_view list, std::string_view word);

struct Key {
  std::string name;  // for logs
  Digest digest;
  std::vector<std::string> users;  // empty: every user

  bool Allows(std::string_view user) const;
};

// Immutable once made; a reload makes another.
class KeyRing {
 public:
  explicit KeyRing(std::vector<Key> keys) : keys_(std::move(keys)) {}
  bool empty() const { return keys_.empty(); }
  size_t size() const { return keys_.size(); }
  // The key's entry, or null. Takes the same time whichever key it is, or none.
  const Key* Find(std::string_view presented) const;

 private:
  std::vector<Key> keys_;
};

// The text of a keys file. Errors name the line, never its content.
Result<std::vector<Key>> ParseKeys(std::string_view text, std::string_view file_name);
// Both sources together; "" for one that is not configured.
Result<std::shared_ptr<const KeyRing>> LoadKeys(std::string_view api_key, const std::string& keys_file);

// What a request presents: X-API-Key, else `Authorization: Bearer KEY`, else "".
std::string_view PresentedKey(std::string_view api_key_field, std::string_view authorization);
// The password of `Authorization: Basic …`, or "". Browsers can send no other on the docs page.
std::string BasicPassword(std::string_view authorization);

}  // namespace csb::http
