// SPDX-License-Identifier: Apache-2.0
//
// process.h: a process that is not our child, named so that a reused pid is never mistaken for it.
//
//   auto id = Identify(pid);               // pid, start time and boot
//   Pidfd process = OpenSame(*id);         // empty when that process is gone
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "plugins/common/pidfd.h"

namespace csb {

struct ProcessId {
  pid_t pid = 0;
  uint64_t start = 0;  // /proc/PID/stat field 22, clock ticks since boot
  std::string boot;    // /proc/sys/kernel/random/boot_id, since ticks start anew

  bool operator==(const ProcessId&) const = default;
};

std::optional<ProcessId> Identify(pid_t pid);
Pidfd OpenSame(const ProcessId& id);
pid_t ParentOf(pid_t pid);  // 0: gone
// True when it ends within `limit`; blocks.
bool WaitEnd(const Pidfd& process, std::chrono::milliseconds limit);

}  // namespace csb
