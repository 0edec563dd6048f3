// SPDX-License-Identifier: Apache-2.0
//
// enforced.h: what holds a sandbox, as it is told in a sandbox's info and in a probe: read back, never
// echoed from options.
//
//   Enforced enforced;
//   enforced["memory"] = {true, FormatSize(limit), "cgroup v2 memory"};
//   WriteEnforced(writer, enforced);    // the "enforced" member of a sandbox's info
#pragma once

#include <map>
#include <string>

#include "clara_sandbox/cpp/json.h"

namespace csb {

struct Enforcement {
  bool enforced = false;
  std::string value;       // "512 MiB"
  std::string by;          // "cgroup v1 memory", or why not and what holds instead
  bool configured = true;  // false: nothing is asked for, so that nothing is missing
};

// memory cpu pids disk network seccomp userns no_new_privs, and what a backend adds
using Enforced = std::map<std::string, Enforcement>;

void WriteEnforced(json::Writer& writer, const Enforced& enforced);

}  // namespace csb
