// SPDX-License-Identifier: Apache-2.0
//
// launcher.h: starts a detached bwrap through clara-sandbox-launch (launch/request.h) and says which
// process became the sandbox's init.
//
//   auto slot = LaunchSlot::Start("…/clara-sandbox-launch", seccomp, group.ProcsFiles());
//   auto launched = slot->Go({.command = BwrapCommand(view), …});
//   if (!launched) return launched.error();      // the message has what bwrap or the kernel said
//
// Any thread, one at a time.
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
  std::vector<std::string> command;  // bwrap and its arguments
  std::optional<UidPair> uids;       // set: a prepared user namespace, staged mounts
  std::string agent, control, etc, workspace;
  std::string image;  // "": `workspace` is a plain folder
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

// A launcher that has joined its groups and waits for what to start.
class LaunchSlot {
 public:
  // program: clara-sandbox-launch; seccomp: the BPF program.
  static Result<LaunchSlot> Start(const std::string& program, const std::string& seccomp,
                                  const std::vector<std::string>& cgroup_procs);
  // Blocks for some milliseconds, at most spec.timeout. Once.
  Result<Launched> Go(const LaunchSpec& spec);

  LaunchSlot(LaunchSlot&&) noexcept;
  LaunchSlot& operator=(LaunchSlot&&) noexcept;
  ~LaunchSlot();  // ends a launcher that was not used

 private:
  LaunchSlot() = default;
  pid_t pid_ = 0;
  UniqueFd request_, report_, complaints_, block_;
};

// What has been written to `complaints` so far, cleaned for a message.
std::string ReadComplaints(int fd);

}  // namespace csb::bwrap
