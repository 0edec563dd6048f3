// SPDX-License-Identifier: Apache-2.0
//
// builder.h: from a user and limits to a running bwrap. Every step leaves a trace that Cleaner
// (cleaner.h) finds, so that a host which is killed at any point leaves nothing for ever.
//
//   Builder builder(host, options);
//   auto data = builder.PrepareData(paths, "alice");       // uids, folders, the workspace
//   auto live = builder.Launch(paths, *data, limits, &launched);
//
// Blocks; the user's lock is held by the caller. Thread-safe for different users.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/bubblewrap/cgroup.h"
#include "plugins/bubblewrap/etc_folder.h"
#include "plugins/bubblewrap/launch_pool.h"
#include "plugins/bubblewrap/launcher.h"
#include "plugins/bubblewrap/mounts.h"
#include "plugins/bubblewrap/options.h"
#include "plugins/bubblewrap/paths.h"
#include "plugins/bubblewrap/record.h"
#include "plugins/bubblewrap/workspace_disk.h"

namespace csb::bwrap {

class Builder {
 public:
  Builder(HostRef host, const Options& options);
  ~Builder();
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  // Formats what will be needed, so that the first create does not wait for it. On a worker.
  void Warm();

  // The user's record, made when there is none, with its uids, folders and workspace.
  Result<UserRecord> PrepareData(const Paths& paths, const std::string& user, bool* fresh);
  // Folders of the runtime part; before a Sandbox listens there.
  Status PrepareRuntime(const Paths& paths, const UidPair& uids);
  // Starts bwrap; `live` was written before anything ran and again with the pids.
  Result<LiveRecord> Launch(const Paths& paths, const UserRecord& record, const Limits& limits,
                            Launched* launched);

  void ReleaseUids(const std::string& name, const UidPair& uids);
  LaunchPool& pool();
  const CgroupParent& cgroups();
  // "" or why workspaces are plain folders though a size is set.
  std::string images_missing();
  // Can RLIMIT_NPROC be set for a sandbox's code alone?
  bool bounds_processes() const;
  Result<std::string> seccomp();

 private:
  SandboxView View(const Paths& paths, const Limits& limits, const EtcFolder& etc, bool separate) const;
  std::vector<RlimitSpec> Rlimits(const Limits& limits, bool image);
  Result<EtcFolder> Etc(const Limits& limits);

  std::mutex etc_mutex_;
  std::optional<EtcFolder> etc_;  // the one without a network
  std::pair<ino_t, time_t> etc_made_of_{};
  const HostRef host_;
  const Options& options_;
  const ImageTemplates templates_;
  const UidPairs uids_;
  std::once_flag cgroups_once_, images_once_, seccomp_once_, pool_once_;
  CgroupParent cgroups_;
  std::string images_missing_;
  Result<std::string> seccomp_{std::string()};
  std::unique_ptr<LaunchPool> pool_;
};

}  // namespace csb::bwrap
