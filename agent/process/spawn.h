// SPDX-License-Identifier: Apache-2.0
//
// spawn.h: from the supervisor to a process of the user: the one place where rights are given up.
//
//   ChildStdio stdio{in, out, err, -1};
//   SpawnResult child = SpawnProgram(spec, identity, stdio);
//   if (child.pid < 0) Report(child.stage, child.error);
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <string>

#include "agent/process/spec.h"

namespace csb::agent {

// Who commands run as, and what they get; fixed for the agent's life.
struct Identity {
  bool separate = false;  // false: commands keep the agent's uid
  uid_t uid = 0;
  gid_t gid = 0;
  std::string workspace = "/workspace";
  std::string tmp = "/tmp";
  rlimit files{};  // RLIMIT_NOFILE as it was before the agent raised its own
};

struct ChildStdio {
  int in = -1, out = -1, err = -1;
  int result = -1;  // tasks only
};

struct SpawnResult {
  pid_t pid = -1;
  Stage stage = Stage::kNone;  // when pid < 0
  int error = 0;
};

// Starts spec.argv in its own session, as the user, with stdio as 0, 1, 2 and nothing else open. Returns
// after execve, so a program that cannot be run is an error here and not an exit code.
SpawnResult SpawnProgram(const StartSpec& spec, const Identity& identity, const ChildStdio& stdio);

// The same for spec.task: agent/files' RunFileTask, or "agent_limits", in a forked child.
SpawnResult SpawnTask(const StartSpec& spec, const Identity& identity, const ChildStdio& stdio);

}  // namespace csb::agent
