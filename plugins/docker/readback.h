// SPDX-License-Identifier: Apache-2.0
//
// readback.h: what holds a running container, as the kernel tells user code inside: the agent's binary is
// run there with --report, as the sandbox's user.
//
//   auto enforced = ReadBack(*channel, limits, info);
//   if (!enforced) return enforced.error();
#pragma once

#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/agent_channel.h"
#include "plugins/common/enforced.h"
#include "plugins/common/host_cgroup.h"
#include "plugins/docker/engine.h"
#include "plugins/docker/options.h"

namespace csb::docker {

struct ReadBackContext {
  Limits limits;  // as asked for, to say why one is missing
  ChannelKind channel = ChannelKind::kSocket;
  bool blocked = false;  // the agent was told to make ranges unreachable
  std::string storage;   // the engine's storage driver
  HostLimits host;       // what this machine's kernel shows, for a container that can't see its own
};

// Blocks until the report is there, 10 s at most.
Result<Enforced> ReadBack(AgentChannel& channel, const ReadBackContext& context);
// Runs a shell once, so that the first command of a user finds its files looked up. Blocks likewise.
void WarmUp(AgentChannel& channel);
// From the report's JSON, which is hostile.
Result<Enforced> EnforcedOf(std::string_view report, const ReadBackContext& context);

}  // namespace csb::docker
