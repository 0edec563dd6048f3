// SPDX-License-Identifier: Apache-2.0
//
// evict.h: the names of bridges' sockets, and the end of bridges that nobody uses any more.
//
//   if (auto evicted = EvictBridges("/run/clara/ctl", "h1"); !evicted) return evicted;
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

inline constexpr std::string_view kSocketEnding = ".sock";

// ID-PID, to which a socket that listens adds kSocketEnding.
std::string BridgeName(std::string_view host_id, pid_t pid);

// Kills every other bridge of this host in the folder, waits for its end, and removes its socket, also one
// whose process is gone. A file that names a process of another kind is removed and the process left alone.
Status EvictBridges(const std::string& folder, const std::string& host_id);

}  // namespace csb::agent
