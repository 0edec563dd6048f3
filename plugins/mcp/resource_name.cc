// SPDX-License-Identifier: Apache-2.0
//
// Names of resources: what stands in a URI, and what a file's name says of its content.
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/mcp/resources.h"

namespace csb::mcp {
namespace {

constexpr std::string_view kScheme = "sandbox://";

int Hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = Hex(text[i + 1]), low = Hex(text[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (!utf8::Valid(out)) return std::nullopt;
  return out;
}

// RFC 3986, 2.3: what stays as it is.
std::string Escaped(std::string_view text, std::string_view also) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos ||
                       also.find(c) != std::string_view::npos;
    if (plain) {
      out += c;
      continue;
    }
    out += '%';
    out += "0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4];
    out += "0123456789ABCDEF"[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
    {".csv", "text/csv"},          {".css", "text/css"},         {".gif", "image/gif"},
    {".htm", "text/html"},         {".html", "text/html"},       {".jpeg", "image/jpeg"},
    {".jpg", "image/jpeg"},        {".js", "text/javascript"},   {".json", "application/json"},
    {".md", "text/markdown"},      {".pdf", "application/pdf"},  {".png", "image/png"},
    {".py", "text/x-python"},      {".svg", "image/svg+xml"},    {".tar", "application/x-tar"},
    {".wav", "audio/wav"},         {".webp", "image/webp"},      {".xml", "application/xml"},
    {".yaml", "application/yaml"}, {".yml", "application/yaml"}, {".zip", "application/zip"},
};

}  // namespace

std::optional<ResourceName> ParseResourceUri(std::string_view uri) {
  if (uri.size() > 16 << 10 || !uri.starts_with(kScheme)) return std::nullopt;
  uri.remove_prefix(kScheme.size());
  const size_t slash = uri.find('/');
  if (slash == std::string_view::npos || uri.find_first_of("?#") != std::string_view::npos)
    return std::nullopt;
  auto user = Unescaped(uri.substr(0, slash));
  auto path = Unescaped(uri.substr(slash));
  if (!user || !path || *path == "/") return std::nullopt;
  return ResourceName{*std::move(user), *std::move(path)};
}

std::string ResourceUri(std::string_view user, std::string_view path) {
  return std::string(kScheme) + Escaped(user, "") + Escaped(path, "/");
}

std::string_view MediaType(std::string_view path, bool text) {
  for (const auto& [end, type] : kTypes)
    if (path.ends_with(end)) return type;
  return text ? "text/plain" : "application/octet-stream";
}

std::string ResourceTemplates() {
  return R"({"resourceTemplates":[{"uriTemplate":"sandbox:///{+path}","name":"file","title":"A file",)"
         R"("description":"A file of the sandbox by its absolute path, as in sandbox:///workspace/report.csv. )"
         R"(Another user's: sandbox://USER/workspace/report.csv."}]})";
}

}  // namespace csb::mcp
