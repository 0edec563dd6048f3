// SPDX-License-Identifier: Apache-2.0
//
// enforced.h: what holds a running sandbox, read back from the kernel, never echoed from options.
//
//   Enforced enforced = ReadEnforced(live);
#pragma once

#include <string>

#include "plugins/bubblewrap/record.h"
#include "plugins/common/enforced.h"

namespace csb::bwrap {

// What bounds processes where no control group does: with two uids, with one.
inline constexpr const char* kProcessLimit[] = {"RLIMIT_NPROC on a uid of its own",
                                                "RLIMIT_NPROC in a user namespace of its own"};
// And what bounds memory there, far weaker.
inline constexpr const char* kDataLimit = "; private memory of each process alone is bounded (RLIMIT_DATA)";

// Reads files of the kernel about live.init; some tens of short system calls.
Enforced ReadEnforced(const LiveRecord& live, const std::string& cgroup_missing);

}  // namespace csb::bwrap
