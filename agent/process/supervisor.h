// SPDX-License-Identifier: Apache-2.0
//
// supervisor.h: the process between the agent and one command. It is a subreaper with the agent's
// uid: whatever the command forks, however it detaches, stays its descendant, so killing and the
// proof that nothing is left (waitpid says ECHILD) need no bookkeeping. It takes one command at a
// time and is used again afterwards.
//
//   if (fork() == 0) RunSupervisor(std::move(socket), identity);
//
// Orders and reports: spec.h. End of file on the socket: kills what runs and exits.
#pragma once

#include "agent/base/fd.h"
#include "agent/process/spawn.h"

namespace csb::agent {

[[noreturn]] void RunSupervisor(Fd socket, const Identity& identity);

}  // namespace csb::agent
