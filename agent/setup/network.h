// SPDX-License-Identifier: Apache-2.0
//
// network.h: what the agent does to its network namespace while it still may (CAP_NET_ADMIN):
// brings interfaces up, gives the outward one its address, and makes address ranges unreachable by routes
// (rtnetlink(7)).
//
//   Ipv4Setup setup;
//   if (auto read = ReadIpv4Option("--address", "10.84.3.17/24", setup); !read) return read.error();
//   if (auto done = SetUpIpv4(setup); !done) return done.error();
//   auto ranges = ParseRanges("169.254.0.0/16,10.0.0.0/8,fc00::/7");
//   if (!ranges) return ranges.error();
//   if (auto blocked = BlockRanges(*ranges); !blocked) return blocked.error();
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct Range {
  int family;           // AF_INET or AF_INET6
  uint8_t address[16];  // network order, host bits 0
  uint8_t prefix;
};

// Comma separated CIDR ranges; host bits must be 0.
Result<std::vector<Range>> ParseRanges(std::string_view text);

// As it is parsed: "10.0.0.0/8".
std::string ToText(const Range& range);

// True when `inner` lies within `outer`.
bool Contains(const Range& outer, const Range& inner);

Status BringUpLoopback();

// What a container's own services would have asked a DHCP server for.
struct Ipv4Setup {
  in_addr address{};
  uint8_t prefix = 0;               // 0: no address is set
  in_addr gateway{}, nameserver{};  // 0.0.0.0: none
};
// option: --address (10.84.3.17/24), --gateway or --nameserver (10.84.3.1).
Status ReadIpv4Option(const std::string& option, const std::string& value, Ipv4Setup& setup);
// Do they belong together?
Status CheckIpv4(const Ipv4Setup& setup);
// Address, state and default route of eth0, or of the only interface beside lo, where IPv6 is turned off.
Status SetUpIpv4(const Ipv4Setup& setup);
// After BlockRanges: gateway and name server of the own network get routes of their own where a range covers
// them.
Status KeepReachable(const Ipv4Setup& setup, const std::vector<Range>& blocked);
// Replaces resolv.conf, also where it is a link that leads nowhere; a failure is logged only.
void WriteNameServer(const std::string& path, const Ipv4Setup& setup);

// Adds an unreachable route for each range and removes every other route of the main table that lies within
// one (a narrower route would win over the block). The default route stays, also where its gateway is in a
// blocked range. Any failure is an error: then nothing may be served.
Status BlockRanges(const std::vector<Range>& ranges);

// The ranges of the main table's unreachable routes. Needs no right.
Result<std::vector<Range>> UnreachableRanges();

}  // namespace csb::agent
