// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "agent/base/fd.h"
#include "agent/base/log.h"

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
          "it",
          false};
}

struct RouteRequest {
  nlmsghdr header;
  union {  // by the header's type
    rtmsg route;
    ifaddrmsg interface;
  };
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

// One address and the wire: over an interface, or over a gateway there. REPLACE: after a restart it is there.
Status AddRoute(RouteSocket& routes, const Range& range, int interface, const in_addr* gateway) {
  RouteRequest request = NewRequest(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, range);
  request.route.rtm_type = RTN_UNICAST;
  request.route.rtm_protocol = RTPROT_STATIC;
  request.route.rtm_scope = gateway != nullptr ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  if (range.prefix > 0) AddAttribute(request, RTA_DST, range.address, AddressSize(range.family));
  if (gateway != nullptr) AddAttribute(request, RTA_GATEWAY, gateway, sizeof *gateway);
  AddAttribute(request, RTA_OIF, &interface, sizeof interface);
  if (const int error = routes.Change(request))
    return Failed("cannot add a route to " + ToText(range), error);
  return {};
}

Status AddAddress(RouteSocket& routes, int interface, const Ipv4Setup& setup) {
  RouteRequest request{};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(ifaddrmsg));
  request.header.nlmsg_type = RTM_NEWADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
  request.interface.ifa_family = AF_INET;
  request.interface.ifa_prefixlen = setup.prefix;
  request.interface.ifa_index = static_cast<uint32_t>(interface);
  AddAttribute(request, IFA_LOCAL, &setup.address, sizeof setup.address);
  AddAttribute(request, IFA_ADDRESS, &setup.address, sizeof setup.address);
  if (const int error = routes.Change(request)) return Failed("cannot set the address", error);
  return {};
}

Status BringUp(const std::string& interface) {
  const Fd control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (!control || ioctl(control.get(), SIOCGIFFLAGS, &request) < 0)
    return Error{CSB_E_INTERNAL, "cannot read the state of " + interface + ": " + strerror(errno), "", false};
  if ((request.ifr_flags & IFF_UP) != 0) return {};
  request.ifr_flags |= IFF_UP;
  if (ioctl(control.get(), SIOCSIFFLAGS, &request) < 0)
    return Error{CSB_E_INTERNAL, "cannot bring " + interface + " up: " + strerror(errno), "", false};
  return {};
}

// eth0, or the only one beside the loopback: a kernel may give every namespace tunnels of its own.
Result<std::string> OutwardInterface() {
  if (if_nametoindex("eth0") != 0) return std::string("eth0");
  std::vector<std::string> found;
  struct if_nameindex* all = if_nameindex();
  for (struct if_nameindex* i = all; i != nullptr && i->if_index != 0; ++i)
    if (std::string_view(i->if_name) != "lo") found.emplace_back(i->if_name);
  if (all != nullptr) if_freenameindex(all);
  if (found.size() == 1) return found.front();
  return Error{CSB_E_INVALID,
               "--address: no eth0 is here, and " + std::to_string(found.size()) + " other interfaces are",
               "give the sandbox one interface, eth0", false};
}

// Where there is no IPv6, or it is not ours to turn off, the engine's filters have to do.
void TurnOffIpv6(const std::string& interface) {
  const std::string folder = "/proc/sys/net/ipv6/conf/" + interface + "/";
  for (const auto& [name, value] : {std::pair("accept_ra", "0"), std::pair("disable_ipv6", "1")}) {
    const Fd file(open((folder + name).c_str(), O_WRONLY | O_CLOEXEC));
    if (!file && errno == ENOENT) continue;
    if (!file || write(file.get(), value, 1) != 1)
      Log("cannot set %s%s: %s", folder.c_str(), name, strerror(errno));
  }
}

std::optional<in_addr> ReadIpv4(std::string_view text) {
  in_addr out{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &out) != 1) return std::nullopt;
  const uint32_t first = ntohl(out.s_addr) >> 24;
  // Nothing that an interface, or one other machine, could not have.
  if (first == 0 || first == 127 || first >= 224) return std::nullopt;
  return out;
}

uint32_t NetworkOf(in_addr address, uint8_t prefix) { return ntohl(address.s_addr) & (~0u << (32 - prefix)); }

Range Single(in_addr address) {
  Range out{AF_INET, {}, 32};
  std::memcpy(out.address, &address, sizeof address);
  return out;
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

Status BringUpLoopback() { return BringUp("lo"); }

Status ReadIpv4Option(const std::string& option, const std::string& value, Ipv4Setup& setup) {
  const auto wrong = [&](const char* example) {
    return Error{CSB_E_INVALID,
                 option + " needs an IPv4 address such as " + example + ", not '" + value + "'",
                 "see clara-sandbox-agent --help", false};
  };
  if (option != "--address") {
    const auto address = ReadIpv4(value);
    if (!address) return wrong("10.84.3.1");
    (option == "--gateway" ? setup.gateway : setup.nameserver) = *address;
    return {};
  }
  const size_t slash = value.find('/');
  const auto address = ReadIpv4(std::string_view(value).substr(0, slash));
  const std::string bits = slash == std::string::npos ? "" : value.substr(slash + 1);
  char* end = nullptr;
  const unsigned long prefix = std::strtoul(bits.c_str(), &end, 10);
  if (!address || bits.empty() || bits[0] < '0' || bits[0] > '9' || *end != 0 || prefix < 1 || prefix > 32)
    return wrong("10.84.3.17/24");
  setup.address = *address;
  setup.prefix = static_cast<uint8_t>(prefix);
  return {};
}

Status CheckIpv4(const Ipv4Setup& setup) {
  if (setup.gateway.s_addr == 0) return {};
  if (setup.prefix == 0)
    return Error{CSB_E_INVALID, "--gateway needs --address", "see clara-sandbox-agent --help", false};
  if (setup.gateway.s_addr == setup.address.s_addr ||
      NetworkOf(setup.gateway, setup.prefix) != NetworkOf(setup.address, setup.prefix))
    return Error{CSB_E_INVALID, "--gateway needs another address of the network of --address",
                 "see clara-sandbox-agent --help", false};
  return {};
}

Status SetUpIpv4(const Ipv4Setup& setup) {
  if (setup.prefix == 0) return {};
  const auto interface = OutwardInterface();
  if (!interface) return interface.error();
  const auto index = static_cast<int>(if_nametoindex(interface->c_str()));
  RouteSocket routes;
  TurnOffIpv6(*interface);
  if (auto added = AddAddress(routes, index, setup); !added) return added;
  if (auto up = BringUp(*interface); !up) return up;
  if (setup.gateway.s_addr == 0) return {};
  return AddRoute(routes, Range{AF_INET, {}, 0}, index, &setup.gateway);
}

Status KeepReachable(const Ipv4Setup& setup, const std::vector<Range>& blocked) {
  if (setup.prefix == 0) return {};
  const auto interface = OutwardInterface();
  if (!interface) return interface.error();
  const auto index = static_cast<int>(if_nametoindex(interface->c_str()));
  RouteSocket routes;
  for (const in_addr& address : {setup.gateway, setup.nameserver}) {
    // A name server elsewhere is reached over the gateway, or blocked as its range is.
    if (address.s_addr == 0 || NetworkOf(address, setup.prefix) != NetworkOf(setup.address, setup.prefix))
      continue;
    const Range one = Single(address);
    for (const Range& range : blocked)
      if (Contains(range, one)) {
        if (auto added = AddRoute(routes, one, index, nullptr); !added) return added;
        break;
      }
  }
  return {};
}

void WriteNameServer(const std::string& path, const Ipv4Setup& setup) {
  if (setup.nameserver.s_addr == 0) return;
  char address[INET_ADDRSTRLEN] = "";
  inet_ntop(AF_INET, &setup.nameserver, address, sizeof address);
  const std::string line = std::string("nameserver ") + address + "\n";
  // A new file in the place of whatever is there: a link is replaced, and nothing is written where it leads.
  const std::string fresh = path + ".clara-sandbox";
  if (unlink(fresh.c_str()) < 0 && errno != ENOENT)
    return Log("cannot write %s: %s", fresh.c_str(), strerror(errno));
  const Fd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file || write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      fchmod(file.get(), 0644) < 0 || rename(fresh.c_str(), path.c_str()) < 0) {
    Log("cannot write the name server to %s: %s", path.c_str(), strerror(errno));
    unlink(fresh.c_str());
  }
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
