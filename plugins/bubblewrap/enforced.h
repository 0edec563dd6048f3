// SPDX-License-Identifier: Apache-2.0
//
// enforced.h: what holds a running sandbox, read back from the kernel, never echoed from options.
//
//   Enforced enforced = ReadEnforced(live);
//   WriteEnforced(writer, enforced);    // the "enforced" member of a sandbox's info
#pragma once

#include <map>
#include <string>

#include "clara_sandbox/cpp/json.h"
#include "plugins/bubblewrap/record.h"

namespace csb::bwrap {

struct Enforcement {
  bool enforced = false;
  std::string value;  // "512 MiB"
  std::string by;     // "cgroup v1 memory", or why not and what holds instead
};

// What bounds processes where no control group does: with two uids, with one.
inline constexpr const char* kProcessLimit[] = {"RLIMIT_NPROC on a uid of its own",
                                                "RLIMIT_NPROC in a user namespace of its own"};
// And what bounds memory there, far weaker.
inline constexpr const char* kDataLimit = "; private memory of each process alone is bounded (RLIMIT_DATA)";

// memory cpu pids disk network seccomp userns no_new_privs
using Enforced = std::map<std::string, Enforcement>;

// Reads files of the kernel about live.init; some tens of short system calls.
Enforced ReadEnforced(const LiveRecord& live, const std::string& cgroup_missing);

void WriteEnforced(json::Writer& writer, const Enforced& enforced);

}  // namespace csb::bwrap
