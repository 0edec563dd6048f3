// SPDX-License-Identifier: Apache-2.0
//
// origin.h: keeps web pages away. A browser on the operator's machine reaches our loopback
// address, and a page can make it send requests there: by a cross-site fetch or form, or by a
// host name that the page's owner points at 127.0.0.1 (DNS rebinding). So:
//
//   - A request that names an Origin, or says Sec-Fetch-Site: cross-site or same-site, is refused
//     unless its origin is the Host it was sent to, or is named in http.allowed_origins.
//   - Without a key (loopback only) Host must be a loopback name or one of http.allowed_hosts.
//     With a key a rebound page has none to send, and proxies may use any name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::http {

struct OriginPolicy {
  bool need_known_host = false;              // no key is configured
  std::vector<std::string> allowed_hosts;    // without a port, compared without case
  std::vector<std::string> allowed_origins;  // "https://app.example.com"
};

// Ok, or CSB_E_FORBIDDEN.
Status CheckOrigin(const OriginPolicy& policy, std::string_view host, std::string_view origin,
                   std::string_view fetch_site);
// The origin is named in the policy: browsers are told so (Access-Control-Allow-Origin).
bool AllowedOrigin(const OriginPolicy& policy, std::string_view origin);
// "localhost", "127.x.y.z" or "::1", port and brackets removed.
bool IsLoopbackName(std::string_view host);
// "example.com:80" -> "example.com"; "[::1]:80" -> "::1".
std::string_view WithoutPort(std::string_view host);

}  // namespace csb::http
