// SPDX-License-Identifier: Apache-2.0
//
// agent_volume.h: the agent's binary as a read-only volume of the engine, for engines that don't see this
// machine's files. Made once for each version of the agent.
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/docker/engine.h"
#include "plugins/docker/names.h"

namespace csb::docker {

// What it is called for the agent at this path; "" when that can't be read.
std::string AgentVolumeName(const Names& names, const std::string& agent);

// The volume's name. `agent`: the binary's path; `image`: any that the engine has; host_id: of
// this process. Blocks; repeated calls,
// also of several hosts at once, end in the same volume.
Result<std::string> MakeAgentVolume(Engine& engine, const Names& names, Labels labels,
                                    const std::string& agent, const std::string& image,
                                    const std::string& host_id);

}  // namespace csb::docker
