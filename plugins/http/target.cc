// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/target.h"

namespace csb::http {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Error Bad(std::string what) { return {CSB_E_BAD_REQUEST, "request target: " + std::move(what), "", false}; }

// More parameters than any of our calls has; bounds what a request can make us allocate.
constexpr size_t kMaxParameters = 64;

}  // namespace

std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high << 4 | low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    out += c;
  }
  return out;
}

std::optional<std::string_view> Target::Get(std::string_view name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return std::nullopt;
}

bool Target::Repeated(std::string_view name) const {
  int seen = 0;
  for (const auto& [key, value] : query) seen += key == name;
  return seen > 1;
}

Result<Target> ParseTarget(std::string_view target) {
  if (target.empty() || target.front() != '/') return Bad("must start with `/`");
  if (target.find('#') != std::string_view::npos) return Bad("must not have a fragment");
  const size_t mark = target.find('?');
  std::string_view path = target.substr(0, mark);
  std::string_view query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);

  Target out;
  out.path = std::string(path);
  path.remove_prefix(1);
  bool more = !path.empty();
  while (more) {
    const size_t slash = path.find('/');
    auto segment = PercentDecode(path.substr(0, slash), false);
    if (!segment) return Bad("a `%` is not followed by two hex digits in the path");
    out.segments.push_back(*std::move(segment));
    more = slash != std::string_view::npos;
    if (more) path.remove_prefix(slash + 1);
    if (out.segments.size() > 8) return Error{CSB_E_NOT_FOUND, "no such path", "see /openapi.json", false};
  }
  while (!query.empty()) {
    const size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    query = end == std::string_view::npos ? std::string_view() : query.substr(end + 1);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    auto key = PercentDecode(pair.substr(0, equals), true);
    auto value = PercentDecode(equals == std::string_view::npos ? "" : pair.substr(equals + 1), true);
    if (!key || !value) return Bad("a `%` is not followed by two hex digits in the query");
    if (out.query.size() == kMaxParameters) return Bad("has more than 64 query parameters");
    out.query.emplace_back(*std::move(key), *std::move(value));
  }
  return out;
}

}  // namespace csb::http
