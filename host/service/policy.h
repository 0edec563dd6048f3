// SPDX-License-Identifier: Apache-2.0
//
// policy.h: what has to be enforced in a sandbox, and what its info says is not. Sandboxes report
// what was read back from the kernel (docs/operations.md, `enforced`), never what was asked for.
//
//   for (const Gap& gap : Gaps(info, {"disk"})) Warn(gap.name + ": " + gap.why);
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"

namespace csb::host {

inline constexpr std::array<std::string_view, 6> kProtections = {"memory", "cpu",     "pids",
                                                                 "disk",   "network", "seccomp"};

// What sandbox.allow_unenforced may name.
inline constexpr std::array<std::string_view, 8> kLimitNames = {
    "memory", "cpu", "pids", "disk", "network", "seccomp", "userns", "no_new_privs"};

// What sandbox.require may name: the limits, and two guarantees of another kind. network-none: no network
// at all, where `network` is content with one of the sandbox's own; vm: a kernel of its own.
inline constexpr std::array<std::string_view, 10> kRequirements = {
    "memory", "cpu", "pids", "disk", "network", "seccomp", "userns", "no_new_privs", "network-none", "vm"};

struct Gap {
  std::string name;        // one of the requirements
  std::string why;         // the sandbox's own words
  bool configured = true;  // false: the operator set no limit, so that nothing fell away
};

// Those of `names` that `info` does not report as enforced. One that is not reported at all counts as not
// enforced.
template <typename Names>
std::vector<Gap> Gaps(const json::Value& info, const Names& names) {
  std::vector<Gap> gaps;
  const json::Value* enforced = json::Find(info, "enforced");
  for (const std::string_view name : names) {
    if (name == "vm") {
      if (json::GetString(info, "type") != "vm") gaps.push_back({"vm", "it is no virtual machine"});
      continue;
    }
    const bool none = name == "network-none";
    const json::Value* member =
        enforced == nullptr ? nullptr : json::Find(*enforced, none ? "network" : name);
    if (none && member != nullptr && json::GetString(*member, "value") != "none") {
      gaps.push_back({std::string(name),
                      "it has a network: " + std::string(json::GetString(*member, "value").value_or("?"))});
    } else if (member == nullptr) {
      gaps.push_back({std::string(name), "not reported"});
    } else if (json::GetBool(*member, "enforced") != true) {
      gaps.push_back({std::string(name),
                      std::string(json::GetString(*member, "by").value_or("no reason given")),
                      json::GetBool(*member, "configured").value_or(true)});
    }
  }
  return gaps;
}

// What a sandbox must enforce: `require`, and for a service that listens beyond loopback every
// protection that is not in `allow_unenforced`.
std::vector<std::string> Required(const std::vector<std::string>& require,
                                  const std::vector<std::string>& allow_unenforced, bool public_listener);

}  // namespace csb::host
