// SPDX-License-Identifier: Apache-2.0
//
// placement.h: which member of a cluster a sandbox is made on. A pure function of what is known of the
// members and what is asked for, so that it can be tested, and tried in bench/scale_model.
//
//   PlacementRule rule{.group = "@gpu", .memory = 1 << 30};
//   Result<std::string> member = Place(candidates, rule, seed);
//   if (!member) return member.error();
//
// Rules: a user whose files are on a member goes there and nowhere else. Else the emptiest usable member for
// its size; one whose memory is short, or where creates keep failing, comes last. Several hosts place at once
// and none sees what the others are about to do, so members that differ by little count as equal: of these
// the one with the fewest creates of this host under way is taken, and chance (`seed`) decides between the
// rest. In large clusters only some members, drawn by chance, are compared: else all hosts would find the
// same empty one in the same second.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::incus {

struct Candidate {
  std::string name;
  bool online = false;
  bool evacuated = false;
  bool suspected = false;  // it stopped answering, whatever the cluster says of it
  std::vector<std::string> groups;
  std::string architecture;
  uint64_t sandboxes = 0;                      // of this installation, as far as known
  uint64_t creating = 0;                       // creates of this host on it that are under way
  uint64_t memory_total = 0, memory_free = 0;  // bytes; total 0: not known
  double load = 0;                             // of one minute
  uint64_t cpus = 0;                           // 0: not known
  uint64_t failures = 0;                       // creates that failed on it lately
};

struct PlacementRule {
  std::string group = {};         // "@gpu" or ""
  std::string member = {};        // the one that has the user's files; "": any
  std::string architecture = {};  // of the image; "": any
  uint64_t memory = 0;            // bytes that the sandbox may take; 0: not limited
};

// Errors, all naming the members: CSB_E_UNAVAILABLE, retryable, when those that would do are offline, silent
// or evacuated; CSB_E_INVALID when no member is in the group or has the architecture.
Result<std::string> Place(const std::vector<Candidate>& members, const PlacementRule& rule, uint64_t seed);

// Why nothing can be made on it now: "offline", "silent", "evacuated"; nullptr: it can.
const char* Unusable(const Candidate& member);

// Members that are compared at most.
inline constexpr size_t kCompared = 8;
// Creates that failed lately from which on a member comes last: one that refuses all stays empty, and would
// get every create.
inline constexpr uint64_t kFailing = 3;

}  // namespace csb::incus
