// SPDX-License-Identifier: Apache-2.0
//
// lineage.h: finds and kills every descendant of a process.
//
// A process with a SIGKILL pending can fork no more: fork fails while a signal is pending (kernel/fork.c). So
// each process is killed first and its list of children read after: that list can only shrink. A child whose
// parent dies meanwhile moves to the nearest subreaper, where the next sweep finds it. Sweeping until waitpid
// says ECHILD therefore ends with nothing left, whatever ran there: setsid, double forks, ignored signals and
// stopped processes make no difference.
//
//   prctl(PR_SET_CHILD_SUBREAPER, 1);
//   Sweeper sweeper;
//   while (Reap(&sweeper)) { sweeper.Sweep(getpid()); WaitForSigchld(); }
#pragma once

#include <sys/types.h>

#include <functional>
#include <set>
#include <vector>

namespace csb::agent {

// The children of all threads of `pid`, from /proc/PID/task/*/children (proc(5)), or by a scan of
// /proc/*/stat where the kernel lacks that file.
std::vector<pid_t> ChildrenOf(pid_t pid);

class Sweeper {
 public:
  // Kills every descendant of `root` but those `spare` names (and all below them). Processes that an earlier
  // sweep dealt with are passed over until Forget. Returns how many were found alive or unreaped.
  size_t Sweep(pid_t root, const std::function<bool(pid_t)>& spare = nullptr);
  // A reaped process: its number may be used again.
  void Reaped(pid_t pid) { done_.erase(pid); }
  void Forget() { done_.clear(); }

 private:
  std::set<pid_t> done_;
};

}  // namespace csb::agent
