// SPDX-License-Identifier: Apache-2.0
//
// readback.h: what holds a running sandbox, as the kernel tells user code inside: the agent's binary is run
// there with --report, as the sandbox's user.
//
//   auto enforced = ReadBack(*channel, {.limits = limits, .agent = "/run/clara/agent", …});
//   if (!enforced) return enforced.error();
#pragma once

#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/agent_channel.h"
#include "plugins/common/enforced.h"
#include "plugins/common/host_cgroup.h"
#include "plugins/common/sandbox_limits.h"

namespace csb {

// How an engine does what it does, for whoever reads what is enforced.
struct ReadBackWords {
  std::string disk;            // what bounds the workspace: "project quota of the engine's storage"
  std::string own_network;     // what a network of our own is like, before its ranges are told
  std::string joined_network;  // why another one does not count
  std::string userns;          // where the user namespace comes from
  std::string no_userns;       // why it is done without
};

struct ReadBackContext {
  SandboxLimits limits;  // as asked for, to say why one is missing
  std::string agent;     // its path inside
  std::string workspace = "/workspace";
  bool blocked = false;  // the agent was told to make ranges unreachable
  std::string storage;   // the engine's storage driver
  bool machine = false;  // a virtual machine: its own size is what bounds it, and its workspace is mounted
  HostLimits host;       // what this machine's kernel shows, for a sandbox that can't see its own
  ReadBackWords words;
};

// Blocks until the report is there, 10 s at most.
Result<Enforced> ReadBack(AgentChannel& channel, const ReadBackContext& context);
// Runs a shell once, so that the first command of a user finds its files looked up. Blocks likewise.
void WarmUp(AgentChannel& channel);
// Whether a shell runs this and exits with 0, as the user. Blocks likewise.
bool SucceedsInside(AgentChannel& channel, const std::string& command);
// From the report's JSON, which is hostile.
Result<Enforced> EnforcedOf(std::string_view report, const ReadBackContext& context);

}  // namespace csb
