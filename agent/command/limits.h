// SPDX-License-Identifier: Apache-2.0
//
// limits.h: what a process of the user sees of its own bounds; the answer of agent_limits. Read
// from the kernel's files by a child that has become the user, so a bound that was configured but
// did not take shows.
#pragma once

#include <string>

namespace csb::agent {

// Writes one line, {"code":0,"result":{…}}, to result_fd (docs/agent-protocol.md). Returns an exit code.
int RunLimitsTask(int result_fd, const std::string& workspace, const std::string& tmp);

}  // namespace csb::agent
