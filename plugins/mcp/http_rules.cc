// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/http_rules.h"

#include <algorithm>

#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/base64.h"

namespace csb::mcp {
namespace {

constexpr std::string_view kSentinel = "=?base64?", kSentinelEnd = "?=";

std::string_view Trimmed(std::string_view value) {
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  return value;
}

// A value that plain ASCII cannot carry comes as =?base64?…?=. Nothing: malformed.
std::optional<std::string> Decoded(std::string_view value) {
  const auto visible = [](char c) { return (c >= 0x20 && c <= 0x7E) || c == '\t'; };
  if (!std::all_of(value.begin(), value.end(), visible)) return std::nullopt;
  if (!value.starts_with(kSentinel) || !value.ends_with(kSentinelEnd) ||
      value.size() < kSentinel.size() + kSentinelEnd.size())
    return std::string(value);
  value.remove_prefix(kSentinel.size());
  value.remove_suffix(kSentinelEnd.size());
  auto bytes = base64::Decode(value);
  if (!bytes) return std::nullopt;
  return *std::move(bytes);
}

// The member of params that Mcp-Name repeats; empty: the method has none.
std::string_view NameMember(std::string_view method) {
  if (method == "tools/call" || method == "prompts/get") return "name";
  if (method == "resources/read") return "uri";
  return {};
}

std::string Differ(std::string_view field, std::string_view header, std::string_view body) {
  return std::string(field) + ": the header says '" + utf8::Clean(header.substr(0, 200)) + "', the body '" +
         std::string(body.substr(0, 200)) + "'";
}

}  // namespace

std::optional<std::string> HeaderMismatch(const HttpHeaders& headers, std::string_view version,
                                          std::string_view method, const json::Value* params) {
  if (!headers.version) return "MCP-Protocol-Version: the header is missing";
  if (Trimmed(*headers.version) != version) return Differ("MCP-Protocol-Version", *headers.version, version);
  if (!headers.method) return "Mcp-Method: the header is missing";
  if (Trimmed(*headers.method) != method) return Differ("Mcp-Method", *headers.method, method);
  const std::string_view member = NameMember(method);
  if (member.empty()) return std::nullopt;
  const auto body = params == nullptr ? std::nullopt : json::GetString(*params, member);
  if (!headers.name) {
    if (!body) return std::nullopt;  // what is missing in the body is told as that
    return "Mcp-Name: the header is missing";
  }
  const auto name = Decoded(Trimmed(*headers.name));
  if (!name) return "Mcp-Name: neither visible ASCII nor =?base64?…?=";
  if (*name != body.value_or("")) return Differ("Mcp-Name", *name, body.value_or(""));
  return std::nullopt;
}

}  // namespace csb::mcp
