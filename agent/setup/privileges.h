// SPDX-License-Identifier: Apache-2.0
//
// privileges.h: the agent gives up what it does not need, before it serves anybody
// (capabilities(7), prctl(2)).
//
//   if (auto done = DropPrivileges(identity); !done) return Fail(done.error());
#pragma once

#include "agent/process/spawn.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

// Is the capability (CAP_*) in the effective set of this process?
bool HasCapability(int capability);

// Keeps CAP_SETUID, CAP_SETGID and CAP_KILL where commands get a uid of their own, else nothing; empties the
// bounding and ambient sets, sets no-new-privileges, drops supplementary groups, forbids core dumps and
// inspection of this process. Also what children rely on: umask 022, all signals at their default.
Status DropPrivileges(const Identity& identity);

}  // namespace csb::agent
