// SPDX-License-Identifier: Apache-2.0
//
// inside.h: what is asked of a running instance's inside, through its agent or the engine.
//
//   auto enforced = ReadBackInside(*channel, limits, options, "btrfs", HostLimitsOf(pid, name));
//   if (!HasPython(*channel)) …
//
// All of them block.
#pragma once

#include <string>
#include <vector>

#include "plugins/common/agent_channel.h"
#include "plugins/common/conversation.h"
#include "plugins/common/enforced.h"
#include "plugins/common/host_cgroup.h"
#include "plugins/incus/engine.h"
#include "plugins/incus/options.h"

namespace csb::incus {

// driver: of the storage pool. host: what this machine's kernel shows.
Result<Enforced> ReadBackInside(AgentChannel& channel, const Limits& limits, const Options& options,
                                const std::string& driver, const HostLimits& host);
bool HasPython(AgentChannel& channel);
// What fetches it, whatever the distribution's packages are called.
std::vector<std::string> InstallPython();
// Of hosts elsewhere, this one's included where it has one.
Result<int> CountBridges(Engine& engine, const std::string& instance);
// Bytes of all files of the root filesystem, a little more than less; 0: it can't be told.
Result<uint64_t> UsedByRoot(Engine& engine, const std::string& instance);
// Until a virtual machine's own agent answers: no event tells of it. CSB_E_CANCELLED: the caller gave up.
Status AwaitMachine(Engine& engine, const std::string& instance, Engine::Limit limit,
                    const Conversation& talk);

}  // namespace csb::incus
