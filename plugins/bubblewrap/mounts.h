// SPDX-License-Identifier: Apache-2.0
//
// mounts.h: what a sandbox sees: the command line of bwrap(1), from namespaces to the agent.
//
//   SandboxView view{.bwrap = "/usr/bin/bwrap", .agent = …, .control = …, .etc = …, .workspace = …};
//   std::vector<std::string> argv = BwrapCommand(view);
//
// Read-only: /usr with /bin /sbin /lib /lib64 as the host has them (links or folders), a made /etc, the
// control folder and the agent under /run/clara. Bounded: /tmp and /dev/shm. Writable and lasting:
// /workspace. Nothing else of the host is there.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace csb::bwrap {

inline constexpr char kAgentInside[] = "/run/clara/agent";
inline constexpr char kControlInside[] = "/run/clara/ctl";

struct SandboxView {
  std::string bwrap;                           // absolute path
  std::string agent, control, etc, workspace;  // sources, as bwrap reaches them
  bool separate_uids = false;                  // the launcher prepares the user namespace
  bool network_namespace = true;               // false: the host's network
  bool set_routes = false;                     // the agent may change routes (and drops the right)
  bool wait_for_host = false;                  // the agent starts when LaunchSpec::before_command is done
  uint64_t processes = 0;                      // RLIMIT_NPROC set inside; 0: the launcher has set it
  uint64_t tmp_bytes = 0;                      // /tmp; /dev/shm has half of it
  std::vector<std::string> agent_options;      // after --control, --workspace, --user, --group
  std::vector<std::string> etc_binds;          // folders of the host's /etc that are shown inside
};

std::vector<std::string> BwrapCommand(const SandboxView& view);

}  // namespace csb::bwrap
