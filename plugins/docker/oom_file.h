// SPDX-License-Identifier: Apache-2.0
//
// oom_file.h: the kernel's counter of processes killed for memory, of another process's control group.
//
//   std::string file = OomFileOf(pid);       // "/sys/fs/cgroup/memory/docker/4f…/memory.oom_control"
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

namespace csb::docker {

// "" when it can't be seen from here (another pid or cgroup namespace, another machine).
std::string OomFileOf(pid_t pid);

// The parts of it, for tests: texts of /proc/PID/cgroup and /proc/self/mountinfo.
std::string FindOomFile(std::string_view cgroup, std::string_view mountinfo);

}  // namespace csb::docker
