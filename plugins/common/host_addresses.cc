// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/host_addresses.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <set>

namespace csb {

std::string WithHostAddresses(std::string ranges) {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return ranges;
  std::set<std::string> own;
  for (const ifaddrs* a = all; a != nullptr; a = a->ifa_next) {
    if (a->ifa_addr == nullptr || (a->ifa_flags & IFF_LOOPBACK) != 0) continue;
    char text[INET6_ADDRSTRLEN] = "";
    if (a->ifa_addr->sa_family == AF_INET) {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(a->ifa_addr);
      if (inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text) != nullptr)
        own.insert(std::string(text) + "/32");
    } else if (a->ifa_addr->sa_family == AF_INET6) {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(a->ifa_addr);
      if (inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text) != nullptr)
        own.insert(std::string(text) + "/128");
    }
  }
  freeifaddrs(all);
  for (const std::string& address : own) ranges += (ranges.empty() ? "" : ",") + address;
  return ranges;
}

}  // namespace csb
