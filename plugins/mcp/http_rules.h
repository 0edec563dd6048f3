// SPDX-License-Identifier: Apache-2.0
//
// http_rules.h: the header fields in which a request over HTTP repeats what its body says (revision
// 2026-07-28), so that proxies can route by them; a server must refuse where the two differ.
//
//   HttpHeaders headers{.version = "2026-07-28", .method = "tools/call", .name = "=?base64?…?="};
//   if (auto why = HeaderMismatch(headers, version, method, params)) …   // -32020, status 400
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"

namespace csb::mcp {

struct HttpHeaders {
  std::optional<std::string> version;  // MCP-Protocol-Version
  std::optional<std::string> method;   // Mcp-Method
  std::optional<std::string> name;     // Mcp-Name
};

// What is wrong with the first of them that is; nothing when they agree with the body.
std::optional<std::string> HeaderMismatch(const HttpHeaders& headers, std::string_view version,
                                          std::string_view method, const json::Value* params);

}  // namespace csb::mcp
