// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "plugins/common/printable.h"

namespace csb::incus {
namespace {

bool IsIpv6(const std::string& text) {
  in6_addr address;
  return inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
         c == '_';
}

bool IsHostName(std::string_view text) {
  return !text.empty() && text.size() <= 253 && text.front() != '-' && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), IsNameCharacter);
}

}  // namespace

std::string Address::Url() const {
  const bool ipv6 = host.find(':') != std::string::npos;
  return "https://" + (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string Address::FileName() const {
  std::string name = host;
  std::replace(name.begin(), name.end(), ':', '-');
  return name + "_" + std::to_string(port);
}

Result<Address> ParseAddress(std::string_view text) {
  const Error wrong{CSB_E_INVALID, "\"" + Printable(text, 300) + "\" is no server's address",
                    "write it like https://host:8443 or https://[IPv6 address]:8443", false};
  constexpr std::string_view kScheme = "https://";
  if (text.starts_with(kScheme)) text.remove_prefix(kScheme.size());
  if (text.ends_with('/')) text.remove_suffix(1);
  if (text.size() > 300) return wrong;
  Address out;
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return wrong;
    out.host = text.substr(1, end - 1);
    std::string_view rest = text.substr(end + 1);
    if (!IsIpv6(out.host) || (!rest.empty() && (rest.front() != ':' || rest.size() == 1))) return wrong;
    if (!rest.empty()) port = rest.substr(1);
  } else {
    const size_t colon = text.find(':');
    out.host = text.substr(0, colon);
    // DNS does not tell capitals apart, and neither may the files that are named after it.
    for (char& c : out.host)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!IsHostName(out.host) || colon == text.size() - 1) return wrong;
    if (colon != std::string_view::npos) port = text.substr(colon + 1);
  }
  if (port.empty()) return out;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (error != std::errc() || end != port.data() + port.size() || out.port == 0) return wrong;
  return out;
}

}  // namespace csb::incus
