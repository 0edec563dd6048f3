// SPDX-License-Identifier: Apache-2.0
//
// target.h: the request target taken apart: path segments and query, each percent-decoded
// exactly once (RFC 3986 §2.1, §3.4; `+` in a query is a space, as HTML forms send it).
//
//   auto target = ParseTarget("/sandbox/a%2Fb/file?path=x+y");
//   target->segments == {"sandbox", "a/b", "file"};  *target->Get("path") == "x y";
//
// A decoded segment is never split again: `%2F` is a character of a user id, not a border.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::http {

struct Target {
  std::string path;                   // as it was sent, for logs
  std::vector<std::string> segments;  // decoded; "/" has none, "/a/" has "a" and ""
  std::vector<std::pair<std::string, std::string>> query;

  // The value of a parameter. Given twice: the first; Repeated() tells.
  std::optional<std::string_view> Get(std::string_view name) const;
  bool Repeated(std::string_view name) const;
};

// `%XX` replaced by its byte, once; nullopt when a `%` is not followed by two hex digits.
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_space);

// Origin-form only ("/path?query"); everything else, and a `#`, is CSB_E_BAD_REQUEST.
Result<Target> ParseTarget(std::string_view target);

}  // namespace csb::http
