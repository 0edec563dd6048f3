// SPDX-License-Identifier: Apache-2.0
//
// agent_lock.h: who serves a folder that only this user can enter. An agent that is not process 1 holds the
// lock for as long as it lives, so that a second one does not start beside it, and a bridge knows whose
// connection to accept.
//
//   auto lock = TakeAgentLock("/run/clara/bridges");
//   if (!lock) return lock.error();
//   if (!lock->ours) return AlreadyServed(lock->holder);
#pragma once

#include <sys/types.h>

#include <string>

#include "agent/base/fd.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct AgentLock {
  Fd file;           // the lock ends with it, or with this process; children don't inherit it
  bool ours = true;  // else another process has it
  pid_t holder = 0;  // that process, where its number can be told
};

Result<AgentLock> TakeAgentLock(const std::string& folder);

// The process that holds the lock of this folder, as this pid namespace numbers it; 0: none.
pid_t AgentLockHolder(const std::string& folder);

}  // namespace csb::agent
