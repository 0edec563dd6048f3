// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/cleaner.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>

#include "plugins/common/process.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

constexpr std::chrono::milliseconds kEndLimit{10'000};

void KillAndWait(const HostRef& host, const Pidfd& process, const char* what) {
  if (!process) return;
  if (Status s = process.Signal(SIGKILL); !s) host.LogWarn(std::string(what) + ": " + s.error().message);
  if (!WaitEnd(process, kEndLimit)) host.LogWarn(std::string(what) + " does not end");
  // Collects it when it happens to be our child, which it is when the host is pid 1.
  const auto reaped = process.Reap();
  if (reaped) host.LogDebug(std::string(what) + " was reaped");
}

// Sockets of this process are removed by their listeners; those of dead hosts stay until here.
void RemoveSockets(const std::string& control) {
  DIR* dir = opendir(control.c_str());
  if (dir == nullptr) return;
  while (const dirent* entry = readdir(dir)) {
    const size_t size = strlen(entry->d_name);
    if (size > 5 && strcmp(entry->d_name + size - 5, ".sock") == 0) unlinkat(dirfd(dir), entry->d_name, 0);
  }
  closedir(dir);
  rmdir(control.c_str());
}

}  // namespace

void Cleaner::EndProcesses(const LiveRecord& live) const {
  // bwrap's end follows its child's; killing the init ends everything in its pid namespace.
  KillAndWait(host_, OpenSame(live.init), "the sandbox's init");
  KillAndWait(host_, OpenSame(live.monitor), "bwrap");
  KillAndWait(host_, OpenSame(live.pasta), "pasta");
  // A launch that was cut off before its pids were known: the group knows them.
  for (int round = 0; round < 100; ++round) {
    const std::vector<pid_t> left = live.cgroup.Processes();
    if (left.empty()) return;
    for (const pid_t pid : left)
      if (auto process = Pidfd::Open(pid)) KillAndWait(host_, *process, "a process of the sandbox");
  }
}

void Cleaner::Clean() const {
  auto live = ReadLiveRecord(paths_.live());
  if (live) {
    EndProcesses(*live);
    if (!live->cgroup.Remove())
      host_.LogWarn("sandbox " + paths_.name + ": its control groups are still in use and stay");
  }
  RemoveSockets(paths_.control());
  RemoveUnfinished(paths_.live());
  unlink(paths_.live().c_str());
  rmdir(paths_.runtime.c_str());
}

}  // namespace csb::bwrap
