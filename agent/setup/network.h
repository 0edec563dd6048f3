// SPDX-License-Identifier: Apache-2.0
//
// network.h: what the agent does to its network namespace while it still may (CAP_NET_ADMIN):
// brings the loopback up and makes address ranges unreachable by routes (rtnetlink(7)).
//
//   auto ranges = ParseRanges("169.254.0.0/16,10.0.0.0/8,fc00::/7");
//   if (!ranges) return ranges.error();
//   if (auto blocked = BlockRanges(*ranges); !blocked) return blocked.error();
#pragma once

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

// Adds an unreachable route for each range and removes every other route of the main table that lies within
// one (a narrower route would win over the block). The default route stays, also where its gateway is in a
// blocked range. Any failure is an error: then nothing may be served.
Status BlockRanges(const std::vector<Range>& ranges);

// The ranges of the main table's unreachable routes. Needs no right.
Result<std::vector<Range>> UnreachableRanges();

}  // namespace csb::agent
