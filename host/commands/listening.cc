// SPDX-License-Identifier: Apache-2.0
#include "host/commands/listening.h"

#include <arpa/inet.h>

namespace csb::host {

bool IsLoopback(std::string_view address) {
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  const std::string text(address);
  if (text == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.c_str(), &v6) != 1) return false;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

bool ListensPublicly(const Config& config, const Schema& schema, const std::vector<std::string>& frontends) {
  for (const std::string& name : frontends) {
    if (schema.Find(name + ".host") == nullptr) continue;
    const std::string address = config.Text(name + ".host");
    const bool has_key = config.Get(name + ".api_key") || config.Get(name + ".keys_file");
    if (address.empty() ? has_key : !IsLoopback(address)) return true;
  }
  return false;
}

}  // namespace csb::host
