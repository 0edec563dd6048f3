// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/origin.h"

#include <arpa/inet.h>

#include <algorithm>

namespace csb::http {
namespace {

bool Same(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}
bool Named(const std::vector<std::string>& list, std::string_view name) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& entry) { return Same(entry, name); });
}

// "https://a:1" was sent to Host "a:1". The scheme is not compared: a proxy may end TLS for us.
bool SameHost(std::string_view origin, std::string_view host) {
  const size_t at = origin.find("://");
  return at != std::string_view::npos && !host.empty() && Same(origin.substr(at + 3), host);
}

}  // namespace

std::string_view WithoutPort(std::string_view host) {
  if (!host.empty() && host.front() == '[') {
    const size_t end = host.find(']');
    return end == std::string_view::npos ? std::string_view() : host.substr(1, end - 1);
  }
  return host.substr(0, host.find(':'));
}

bool IsLoopbackName(std::string_view host) {
  const std::string name(WithoutPort(host));
  if (Same(name, "localhost") || name == "::1") return true;
  in_addr address{};
  // inet_pton and not a prefix: "127.evil.example" is a name.
  return inet_pton(AF_INET, name.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

bool AllowedOrigin(const OriginPolicy& policy, std::string_view origin) {
  return !origin.empty() && Named(policy.allowed_origins, origin);
}

Status CheckOrigin(const OriginPolicy& policy, std::string_view host, std::string_view origin,
                   std::string_view fetch_site) {
  // HTTP/1.0 needs no Host, and no browser speaks it.
  if (policy.need_known_host && !host.empty() && !IsLoopbackName(host) &&
      !Named(policy.allowed_hosts, WithoutPort(host)))
    return Error{CSB_E_FORBIDDEN, "Host is not a loopback name",
                 "use http://127.0.0.1, or name the host in http.allowed_hosts, or set an API key", false};
  if (AllowedOrigin(policy, origin)) return {};
  const bool cross = !origin.empty() ? !SameHost(origin, host)
                                     : Same(fetch_site, "cross-site") || Same(fetch_site, "same-site");
  if (cross)
    return Error{CSB_E_FORBIDDEN, "requests that a browser sends for another site are refused",
                 "name that site in http.allowed_origins", false};
  return {};
}

}  // namespace csb::http
