// SPDX-License-Identifier: Apache-2.0
//
// host_cgroup.h: the control groups of a container as this machine's kernel shows them: where the container
// itself can't look (a kernel of its own, as gVisor's), and for the counter of processes killed for memory.
//
//   std::string file = OomFileOf(pid);       // "/sys/fs/cgroup/memory/docker/4f…/memory.oom_control"
//   HostLimits limits = HostLimitsOf(pid, id);
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/common/unique_fd.h"

namespace csb {

// "" when it can't be seen from here (another pid or cgroup namespace, another machine).
std::string OomFileOf(pid_t pid);
// For version 1, whose counter can't be watched: readable whenever the group is out of memory, right before
// the kernel kills and counts; and at its end. `fd`: of that file. Empty for version 2, or where it can't be
// had.
UniqueFd OomEventOf(const std::string& file, int fd);
// Bytes in use, as "/sys/fs/cgroup/memory/docker/4f…/memory.usage_in_bytes"; "" likewise.
std::string MemoryUseFileOf(pid_t pid);

struct HostLimits {
  std::optional<uint64_t> memory;  // bytes
  bool swap_excluded = false;
  std::optional<double> cores;
  std::optional<uint64_t> pids;
  int version = 0;  // of the control groups
};
// Members stay empty where nothing is limited or to be seen. The group must be named after the container: a
// pid of another pid namespace is somebody else's here.
HostLimits HostLimitsOf(pid_t pid, std::string_view container);

// The folder of a controller's group ("memory", "cpu", "pids"), version 1 first; version says which it is.
// `cgroup`, `mountinfo`: texts of /proc/PID/cgroup and /proc/self/mountinfo. "" when there is none.
std::string FindGroup(std::string_view cgroup, std::string_view mountinfo, std::string_view controller,
                      int* version);

}  // namespace csb
