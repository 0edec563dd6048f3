// SPDX-License-Identifier: Apache-2.0
//
// folders.h: what the agent makes right in a container's files while it is still root: the folder of hosts'
// sockets, the owner of the workspace, the names of the loopback. Images and engines leave these to whoever
// runs in them.
//
//   if (auto made = MakeControlFolder("/run/clara/ctl"); !made) return made;
//   if (auto owned = OwnWorkspace(identity); !owned) return owned;
//   NameLoopback("/etc/hosts");
#pragma once

#include <string>

#include "agent/process/spawn.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

// The folder exists, is this user's and nobody else may look into it (0700). Missing parents are made too,
// 0755. An error when the last name is a link, no folder, or somebody else's.
Status MakeControlFolder(const std::string& path);

// identity.workspace exists (made 0755 where missing) and, with a uid of its own, belongs to it. Only the
// folder itself changes, not what is in it, and its mode stays. Never follows a link as the last name. Needs
// CAP_CHOWN unless the owner is right already.
Status OwnWorkspace(const Identity& identity);

// Gives a hosts(5) file that is missing or blank the lines of localhost: ::1 only where an interface has it,
// so the loopback has to be up before. A failure is logged and no more: a
// read-only root is a choice, and all that is lost is a name.
void NameLoopback(const std::string& path);

}  // namespace csb::agent
