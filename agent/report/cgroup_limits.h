// SPDX-License-Identifier: Apache-2.0
//
// cgroup_limits.h: the bounds that control groups (cgroups(7)) set on this process, of either version, as far
// as they can be seen under /sys/fs/cgroup.
//
//   const CgroupLimits limits = ReadCgroupLimits();
//   if (limits.memory) Say(*limits.memory, limits.memory_by);
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace csb::agent {

// A bound is that of the tightest of this process's groups that can be seen. No value: unlimited where `by`
// names the control group, not visible where it is empty.
struct CgroupLimits {
  std::optional<uint64_t> memory;       // bytes
  std::optional<uint64_t> memory_swap;  // bytes, memory and swap together
  std::string memory_by;                // "cgroup v1 memory", "cgroup v2 memory"
  std::optional<double> cpu_cores;
  std::string cpu_by;
  std::optional<uint64_t> pids;
  std::string pids_by;
};

// `root` stands in for / in tests.
CgroupLimits ReadCgroupLimits(const std::string& root = "");

}  // namespace csb::agent
