// SPDX-License-Identifier: Apache-2.0
//
// cgroup.h: control groups of a sandbox: memory, cpu, pids. Version 2, or version 1 where the machine
// still mounts those controllers one by one, or a mix; what is missing is said, never passed over.
//
//   CgroupParent parent = FindCgroupParent(ReadCgroupView());   // once
//   auto group = Cgroup::Make(parent, "alice-2bd8…");
//   if (Status s = group->SetLimits(limits); !s) …
//   … a process writes "0" to each of group->procs_files() before it execs …
//   group->memory().limit            // read back from the kernel
//   group->Remove();
//
// Groups stand in <the host's own group>/clara-sandbox/<name>, so that they nest in a container's or
// a service's. Kernel documentation: admin-guide/cgroup-v1/, admin-guide/cgroup-v2.rst.
// Values are copied freely and used from any thread; every function makes a few short system calls.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/bubblewrap/limits.h"

namespace csb::bwrap {

// One controller: where its group is and which dialect it speaks. Empty path: not to be had.
struct Controller {
  std::string path;
  int version = 0;  // 1 or 2

  explicit operator bool() const { return !path.empty(); }
};

// The folder under which groups are made, for each controller, and why one is missing.
struct CgroupParent {
  Controller memory, cpu, cpuacct, pids;
  std::string missing;  // "" when all are there
};

// What FindCgroupParent decides on; texts of /proc/self/cgroup and /proc/self/mountinfo.
struct CgroupView {
  std::string self_cgroup;
  std::string mountinfo;
};

CgroupView ReadCgroupView();
// Makes <own group>/clara-sandbox in each hierarchy and, on version 2, hands the controllers down.
CgroupParent FindCgroupParent(const CgroupView& view);
// Removes the folders that FindCgroupParent made, as far as no sandbox is in them.
void RemoveCgroupParent(const CgroupParent& parent);

// Where this process is in each hierarchy: controller name ("" for version 2) and folder.
struct Hierarchy {
  std::string controllers;  // comma separated; "" for version 2
  std::string folder;       // of this process's own group
  std::string top;          // the highest folder that is visible
};
std::vector<Hierarchy> ParseHierarchies(const CgroupView& view);

class Cgroup {
 public:
  // What the kernel says; nullopt: unlimited or not to be had.
  struct Reading {
    std::optional<uint64_t> memory_limit;  // bytes
    bool swap_excluded = false;            // the limit covers swap too, or there is none
    std::optional<double> cpu_limit;       // cores
    std::optional<uint64_t> pids_limit;
  };

  Cgroup() = default;
  // An old empty group of this name is replaced; when it can't be, a number is added to the name. On error
  // nothing stays.
  static Result<Cgroup> Make(const CgroupParent& parent, std::string_view name);
  Status SetLimits(const Limits& limits) const;

  // cgroup.procs of each; writing "0" moves the writer.
  std::vector<std::string> ProcsFiles() const;
  Reading Read() const;
  uint64_t MemoryUsage() const;  // bytes, 0 when unknown
  std::optional<uint64_t> CpuTimeNs() const;
  std::string OomFile() const;  // has "oom_kill N" on a line; "" when there is none
  int memory_version() const { return memory_.version; }
  int cpu_version() const { return cpu_.version; }
  int pids_version() const { return pids_.version; }

  // Processes in any of the groups now.
  std::vector<pid_t> Processes() const;
  // True once all are gone. False while a process is left in one.
  bool Remove() const;

  void Write(json::Writer& writer) const;
  static Cgroup From(const json::Value& object);

 private:
  Controller memory_, cpu_, cpuacct_, pids_;
};

// Processes and threads that the pids group admits beyond those of user code: bwrap, the agent, its
// per-command supervisors.
inline constexpr uint64_t kReservedPids = 48;

}  // namespace csb::bwrap
