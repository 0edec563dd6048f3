// SPDX-License-Identifier: Apache-2.0
//
// bridge.h: between stdin and stdout of this process, which belong to a host far away, and the agent, which
// connects to every *.sock of its control folder (channel/dialer.h). Nothing but the channel's bytes goes to
// stdout.
//
//   if (auto bridged = RunBridge({.folder = "/run/clara/ctl", .host_id = "h1"}); !bridged)
//     return Fail(bridged.error());
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/base/fd.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct BridgeOptions {
  std::string folder;              // of the agent's --bridges, or its --control with --make-control
  std::string host_id;             // a new bridge ends the older ones of its host
  int64_t wait_ns = 10 * kSecond;  // for the agent to make the folder and to connect
};

// 1 to 64 of A-Z a-z 0-9 _ -
bool IsHostId(std::string_view id);

// Until the host or the agent ends. An error: there never was a connection. Expects the rights to be dropped
// already (setup/privileges.h); needs none but the ownership of the folder.
Status RunBridge(const BridgeOptions& options);

}  // namespace csb::agent
