// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/launch_pool.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>

#include "plugins/common/process.h"

namespace csb::bwrap {
namespace {

constexpr char kPattern[] = "host-%d-%" SCNu64 "-";

// Of this process, not of one pool: "host-PID-START-N".
std::string NextName() {
  static std::atomic<uint64_t> next{0};
  const auto me = Identify(getpid());
  return "host-" + std::to_string(getpid()) + "-" + std::to_string(me ? me->start : 0) + "-" +
         std::to_string(next++);
}

}  // namespace

LaunchPool::LaunchPool(HostRef host, std::string launcher, Result<std::string> seccomp,
                       const CgroupParent& parent)
    : host_(host), launcher_(std::move(launcher)), seccomp_(std::move(seccomp)), parent_(parent) {}

LaunchPool::~LaunchPool() {
  std::vector<Cgroup> groups;
  for (const Parked& parked : parked_) groups.push_back(parked.group);
  parked_.clear();
  for (const Cgroup& group : groups)
    if (!group.Remove()) host_.LogDebug("a parked control group stays until the next start");
}

Result<LaunchPool::Parked> LaunchPool::Make() const {
  if (!seccomp_) return seccomp_.error();
  auto group = Cgroup::Make(parent_, NextName());
  if (!group) return group.error();
  auto slot = LaunchSlot::Start(launcher_, *seccomp_, group->ProcsFiles());
  if (slot) return Parked{*std::move(slot), *group};
  group->Remove();
  return slot.error();
}

Result<LaunchPool::Parked> LaunchPool::Take() {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = std::min(wanted_ + 1, kMost);
    if (!parked_.empty()) {
      Parked out = std::move(parked_.front());
      parked_.erase(parked_.begin());
      return out;
    }
  }
  return Make();
}

void LaunchPool::Refill() {
  // Without groups nothing is saved by parking.
  if (!parent_.memory && !parent_.cpu && !parent_.pids) return;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (parked_.size() + making_ >= wanted_) return;
      ++making_;
    }
    auto made = Make();
    const std::lock_guard lock(mutex_);
    --making_;
    if (!made) return host_.LogWarn(made.error().message);
    parked_.push_back(*std::move(made));
  }
}

void LaunchPool::Sweep() const {
  for (const Controller* controller : {&parent_.memory, &parent_.cpu, &parent_.cpuacct, &parent_.pids}) {
    if (!*controller) continue;
    DIR* dir = opendir(controller->path.c_str());
    if (dir == nullptr) continue;
    while (const dirent* entry = readdir(dir)) {
      int pid = 0;
      uint64_t start = 0;
      if (sscanf(entry->d_name, kPattern, &pid, &start) != 2) continue;
      const auto owner = Identify(pid);
      if (owner && owner->start == start) continue;
      // Fails, as it should, when the group holds a sandbox by now.
      unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
    }
    closedir(dir);
  }
}

}  // namespace csb::bwrap
