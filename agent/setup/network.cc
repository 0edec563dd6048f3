// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/network.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "agent/base/fd.h"

namespace csb::agent {
namespace {

size_t AddressSize(int family) { return family == AF_INET ? 4 : 16; }

bool SamePrefix(const uint8_t* a, const uint8_t* b, unsigned bits) {
  if (std::memcmp(a, b, bits / 8) != 0) return false;
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<uint8_t>(0xFF << (8 - bits % 8));
  return (a[bits / 8] & mask) == (b[bits / 8] & mask);
}

Error Failed(const std::string& what, int error) {
  return {CSB_E_INTERNAL, what + ": " + strerror(error),
          "the agent needs CAP_NET_ADMIN in the network namespace of the sandbox; refusing to serve without "
          "the block",
          false};
}

struct RouteRequest {
  nlmsghdr header;
  rtmsg route;
  char attributes[256];
};

void AddAttribute(RouteRequest& request, unsigned short type, const void* data, size_t size) {
  auto* attribute =
      reinterpret_cast<rtattr*>(reinterpret_cast<char*>(&request) + NLMSG_ALIGN(request.header.nlmsg_len));
  attribute->rta_type = type;
  attribute->rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
  std::memcpy(RTA_DATA(attribute), data, size);
  request.header.nlmsg_len =
      static_cast<uint32_t>(NLMSG_ALIGN(request.header.nlmsg_len) + RTA_ALIGN(attribute->rta_len));
}

RouteRequest NewRequest(unsigned short type, unsigned short flags, const Range& range) {
  RouteRequest request{};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(rtmsg));
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = static_cast<unsigned short>(NLM_F_REQUEST | flags);
  request.route.rtm_family = static_cast<unsigned char>(range.family);
  request.route.rtm_dst_len = range.prefix;
  request.route.rtm_table = RT_TABLE_MAIN;
  return request;
}

class RouteSocket {
 public:
  RouteSocket() : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) {}

  // Sends a request that is acknowledged; 0 or an errno.
  int Change(RouteRequest& request) {
    request.header.nlmsg_flags |= NLM_F_ACK;
    if (!socket_ || send(socket_.get(), &request, request.header.nlmsg_len, 0) < 0) return errno;
    alignas(nlmsghdr) char buffer[8192];
    for (;;) {
      const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno;
      auto* header = reinterpret_cast<nlmsghdr*>(buffer);
      if (!NLMSG_OK(header, static_cast<size_t>(n))) return EPROTO;
      if (header->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
    }
  }

  struct Route {
    Range range;
    unsigned char type;
    int interface;
    uint32_t priority;
  };
  // Every route of the main table; an errno through `error`.
  std::vector<Route> List(int family, int& error) {
    std::vector<Route> routes;
    Range all{family, {}, 0};
    RouteRequest request = NewRequest(RTM_GETROUTE, NLM_F_DUMP, all);
    error = 0;
    if (!socket_ || send(socket_.get(), &request, request.header.nlmsg_len, 0) < 0) {
      error = errno;
      return routes;
    }
    alignas(nlmsghdr) static char buffer[32 << 10];
    for (;;) {
      const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        error = errno;
        return routes;
      }
      size_t left = static_cast<size_t>(n);
      for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(header, left);
           header = NLMSG_NEXT(header, left)) {
        if (header->nlmsg_type == NLMSG_DONE) return routes;
        if (header->nlmsg_type == NLMSG_ERROR) {
          error = -static_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
          return routes;
        }
        if (header->nlmsg_type == RTM_NEWROUTE) Parse(header, family, routes);
      }
    }
  }

 private:
  static void Parse(nlmsghdr* header, int family, std::vector<Route>& routes) {
    const auto* message = static_cast<rtmsg*>(NLMSG_DATA(header));
    if (message->rtm_family != family) return;
    Route route{{family, {}, message->rtm_dst_len}, message->rtm_type, 0, 0};
    uint32_t table = message->rtm_table;
    auto size = static_cast<int>(RTM_PAYLOAD(header));
    for (auto* a = const_cast<rtattr*>(RTM_RTA(message)); RTA_OK(a, size); a = RTA_NEXT(a, size)) {
      const size_t length = RTA_PAYLOAD(a);
      if (a->rta_type == RTA_DST && length == AddressSize(family))
        std::memcpy(route.range.address, RTA_DATA(a), length);
      if (a->rta_type == RTA_OIF && length == 4) std::memcpy(&route.interface, RTA_DATA(a), 4);
      if (a->rta_type == RTA_PRIORITY && length == 4) std::memcpy(&route.priority, RTA_DATA(a), 4);
      if (a->rta_type == RTA_TABLE && length == 4) std::memcpy(&table, RTA_DATA(a), 4);
    }
    if (table == RT_TABLE_MAIN) routes.push_back(route);
  }

  Fd socket_;
};

// Is there IPv6 at all? Then a block that cannot be set is fatal; without it there is nothing to block.
bool HasFamily(int family) {
  const Fd probe(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return static_cast<bool>(probe) || errno != EAFNOSUPPORT;
}

Status BlockOne(RouteSocket& routes, const Range& range) {
  RouteRequest request = NewRequest(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, range);
  request.route.rtm_type = RTN_UNREACHABLE;
  request.route.rtm_protocol = RTPROT_STATIC;
  request.route.rtm_scope = RT_SCOPE_UNIVERSE;
  AddAttribute(request, RTA_DST, range.address, AddressSize(range.family));
  // The smallest number is tried first, so that a route of the same range cannot win.
  const uint32_t priority = 1;
  AddAttribute(request, RTA_PRIORITY, &priority, sizeof priority);
  if (const int error = routes.Change(request)) return Failed("cannot block " + ToText(range), error);
  return {};
}

Status RemoveNarrower(RouteSocket& routes, const std::vector<Range>& ranges, int family) {
  int error = 0;
  for (const auto& route : routes.List(family, error)) {
    if (route.type != RTN_UNICAST || route.range.prefix == 0) continue;
    bool inside = false;
    for (const auto& range : ranges) inside = inside || Contains(range, route.range);
    if (!inside) continue;
    RouteRequest request = NewRequest(RTM_DELROUTE, 0, route.range);
    request.route.rtm_scope = RT_SCOPE_NOWHERE;
    request.route.rtm_type = RTN_UNICAST;
    AddAttribute(request, RTA_DST, route.range.address, AddressSize(family));
    if (route.interface != 0) AddAttribute(request, RTA_OIF, &route.interface, sizeof route.interface);
    if (route.priority != 0) AddAttribute(request, RTA_PRIORITY, &route.priority, sizeof route.priority);
    if (const int gone = routes.Change(request); gone != 0 && gone != ESRCH)
      return Failed("cannot remove the route to " + ToText(route.range), gone);
  }
  if (error != 0) return Failed("cannot list routes", error);
  return {};
}

}  // namespace

std::string ToText(const Range& range) {
  char text[INET6_ADDRSTRLEN] = "?";
  inet_ntop(range.family, range.address, text, sizeof text);
  return std::string(text) + "/" + std::to_string(range.prefix);
}

bool Contains(const Range& outer, const Range& inner) {
  return outer.family == inner.family && inner.prefix >= outer.prefix &&
         SamePrefix(outer.address, inner.address, outer.prefix);
}

Result<std::vector<Range>> ParseRanges(std::string_view text) {
  std::vector<Range> ranges;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    if (item.empty()) continue;
    const auto wrong = [&] {
      return Error{CSB_E_INVALID, "'" + std::string(item) + "' is no address range",
                   "write ranges as 10.0.0.0/8 or fc00::/7, host bits 0", false};
    };
    const size_t slash = item.find('/');
    if (slash == std::string_view::npos) return wrong();
    const std::string address(item.substr(0, slash));
    const std::string bits(item.substr(slash + 1));
    Range range{address.find(':') == std::string::npos ? AF_INET : AF_INET6, {}, 0};
    if (inet_pton(range.family, address.c_str(), range.address) != 1) return wrong();
    char* end = nullptr;
    const unsigned long prefix = std::strtoul(bits.c_str(), &end, 10);
    if (bits.empty() || *end != 0 || bits[0] < '0' || bits[0] > '9' || prefix > AddressSize(range.family) * 8)
      return wrong();
    range.prefix = static_cast<uint8_t>(prefix);
    for (size_t bit = prefix; bit < AddressSize(range.family) * 8; ++bit)
      if ((range.address[bit / 8] >> (7 - bit % 8) & 1) != 0) return wrong();
    ranges.push_back(range);
  }
  return ranges;
}

Status BringUpLoopback() {
  const Fd control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (!control || ioctl(control.get(), SIOCGIFFLAGS, &request) < 0)
    return Error{CSB_E_INTERNAL, std::string("cannot read the state of lo: ") + strerror(errno), "", false};
  if ((request.ifr_flags & IFF_UP) != 0) return {};
  request.ifr_flags |= IFF_UP;
  if (ioctl(control.get(), SIOCSIFFLAGS, &request) < 0)
    return Error{CSB_E_INTERNAL, std::string("cannot bring lo up: ") + strerror(errno), "", false};
  return {};
}

Status BlockRanges(const std::vector<Range>& ranges) {
  RouteSocket routes;
  for (const auto& range : ranges)
    if (HasFamily(range.family))
      if (auto blocked = BlockOne(routes, range); !blocked) return blocked;
  for (const int family : {AF_INET, AF_INET6})
    if (HasFamily(family))
      if (auto removed = RemoveNarrower(routes, ranges, family); !removed) return removed;
  return {};
}

Result<std::vector<Range>> UnreachableRanges() {
  std::vector<Range> ranges;
  RouteSocket routes;
  for (const int family : {AF_INET, AF_INET6}) {
    int error = 0;
    if (!HasFamily(family)) continue;
    for (const auto& route : routes.List(family, error))
      if (route.type == RTN_UNREACHABLE) ranges.push_back(route.range);
    if (error != 0) return Error{CSB_E_IO, std::string("cannot list routes: ") + strerror(error), "", false};
  }
  return ranges;
}

}  // namespace csb::agent
