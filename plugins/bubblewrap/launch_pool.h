// SPDX-License-Identifier: Apache-2.0
//
// launch_pool.h: launchers that wait inside control groups of their own, so that a create need not wait
// for a process to change groups: the kernel may take 20 ms for that, most of a create's time.
//
//   LaunchPool pool(host, launcher, seccomp, parent);
//   auto parked = pool.Take();                   // a parked one, or one made now
//   pool.Refill();                               // on a worker, after each create
//
// It holds as many as were taken so far, at most kMost: a host that makes one sandbox pays for one.
// A group's name is never used twice, so that a launcher which lost its host can't join the group of
// another sandbox. A host that is killed closes its end: the launchers end, and Sweep of the next one removes
// the groups. Thread-safe; Take and Refill block.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/bubblewrap/cgroup.h"
#include "plugins/bubblewrap/launcher.h"

namespace csb::bwrap {

class LaunchPool {
 public:
  static constexpr size_t kMost = 4;

  struct Parked {
    LaunchSlot slot;
    Cgroup group;
  };

  // seccomp: what SeccompProgram gave; its error is Take's.
  LaunchPool(HostRef host, std::string launcher, Result<std::string> seccomp, const CgroupParent& parent);
  ~LaunchPool();  // ends the launchers, removes their groups
  LaunchPool(const LaunchPool&) = delete;
  LaunchPool& operator=(const LaunchPool&) = delete;

  Result<Parked> Take();
  void Refill();
  // Removes groups of hosts that are no more, but for those that hold a sandbox.
  void Sweep() const;

 private:
  Result<Parked> Make() const;

  const HostRef host_;
  const std::string launcher_;
  const Result<std::string> seccomp_;
  const CgroupParent& parent_;
  std::mutex mutex_;
  std::vector<Parked> parked_;
  size_t wanted_ = 1;
  size_t making_ = 0;
};

}  // namespace csb::bwrap
