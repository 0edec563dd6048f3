// SPDX-License-Identifier: Apache-2.0
//
// launcher.h: starts a detached bwrap through clara-sandbox-launch (launch/request.h) and says which
// process became the sandbox's init.
//
//   LaunchSpec spec{.program = "…/clara-sandbox-launch", .command = BwrapCommand(view), …};
//   auto launched = Launch(spec);
//   if (!launched) return launched.error();      // the message has what bwrap or the kernel said
//
// Blocks for some milliseconds, at most spec.timeout; any thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/bubblewrap/uid_pair.h"
#include "plugins/common/pidfd.h"
#include "plugins/common/unique_fd.h"

namespace csb::bwrap {

struct RlimitSpec {
  int resource;  // RLIMIT_*
  uint64_t soft, hard;
};

struct LaunchSpec {
  std::string program;               // clara-sandbox-launch
  std::vector<std::string> command;  // bwrap and its arguments
  std::string seccomp;               // the BPF program
  std::optional<UidPair> uids;       // set: a prepared user namespace, staged mounts
  std::string agent, control, etc, workspace;
  std::string image;  // "": `workspace` is a plain folder
  std::vector<std::string> cgroup_procs;
  std::vector<RlimitSpec> rlimits;
  // Runs while bwrap waits, after the namespaces are there and before the agent starts.
  std::function<Status(pid_t init)> before_command;
  std::chrono::milliseconds timeout{15'000};
};

struct Launched {
  pid_t monitor = 0;  // bwrap, outside
  pid_t init = 0;     // the agent, as the host sees it
  Pidfd monitor_fd, init_fd;
  // bwrap's and the agent's stderr: says why, when the agent never comes. Non-blocking.
  UniqueFd complaints;
};

Result<Launched> Launch(const LaunchSpec& spec);

// What has been written to `complaints` so far, cleaned for a message.
std::string ReadComplaints(int fd);

}  // namespace csb::bwrap
