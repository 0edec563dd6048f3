// SPDX-License-Identifier: Apache-2.0
//
// registry.h: the sandboxes that this host process is attached to, and how one comes to be, is found
// again and ends. Truth stands in the kernel and in the records (record.h), since other host
// processes act on the same sandboxes: under the user's lock a live record is believed only as far as
// its processes are alive.
//
//   if (auto sandbox = registry.Find("alice")) …           // attached and ready: no system call
//   auto sandbox = registry.Attach("alice");               // another host's, or of an earlier run
//   auto sandbox = registry.Create("alice", payload);      // makes one when there is none
//
// Find never blocks; everything else does, for a worker. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/bubblewrap/builder.h"
#include "plugins/bubblewrap/options.h"
#include "plugins/bubblewrap/paths.h"
#include "plugins/bubblewrap/sandbox.h"
#include "plugins/common/file_lock.h"
#include "plugins/common/lifeline.h"
#include "plugins/common/lost_sandboxes.h"

namespace csb::bwrap {

class Registry {
 public:
  Registry(HostRef host, Reactor& reactor, const Options& options);
  ~Registry();  // detaches; sandboxes live on

  std::shared_ptr<Sandbox> Find(std::string_view user) const;
  // CSB_E_NO_SANDBOX when there is none alive; cleans up after a dead one.
  Result<std::shared_ptr<Sandbox>> Attach(const std::string& user);
  // payload: of the create; CSB_E_CONFLICT when a live one has other limits than it asks for.
  Result<std::shared_ptr<Sandbox>> Create(const std::string& user, const json::Value& payload);
  Result<std::shared_ptr<Sandbox>> Restart(const std::string& user);
  // The record of a sandbox that runs, whether this process is connected to it or not.
  std::optional<LiveRecord> Live(const std::string& user) const;
  enum class StopResult { kNothing, kStopped, kLeft };
  // if_unused: a sandbox that another host process is connected to goes on; this one lets go of it (kLeft).
  Result<StopResult> Stop(const std::string& user, bool if_unused);
  struct Destroyed {
    bool existed = false;
    bool files_remain = false;
  };
  Result<Destroyed> Destroy(const std::string& user, bool purge);

  // Of a user without a live sandbox but with files; CSB_E_NOT_FOUND.
  Result<UserRecord> Stopped(const std::string& user) const;
  // Every user that has files or a live sandbox here.
  std::vector<std::string> Users() const;
  // Removes what dead sandboxes left: control groups, sockets, records. At the start of a host.
  void Sweep();

  // Runs `work` on a worker, unless this goes first; waited for by the destructor.
  void InBackground(std::function<void(Registry&)> work);

  Builder& builder() { return builder_; }
  Paths PathsOf(std::string_view user) const;

 private:
  using SandboxPtr = std::shared_ptr<Sandbox>;
  // All with the user's lock held.
  Result<SandboxPtr> AttachLocked(const Paths& paths);
  Result<SandboxPtr> CreateLocked(const Paths& paths, const std::string& user, const Limits& limits,
                                  const json::Value& payload);
  Result<SandboxPtr> MakeLocked(const Paths& paths, const std::string& user, const Limits& limits);
  Result<bool> StopLocked(const Paths& paths);
  void CleanLocked(const Paths& paths);
  Result<FileLock> Lock(const Paths& paths) const;

  Status BringUp(const Paths& paths, const SandboxPtr& sandbox, LiveRecord live, Pidfd init, Pidfd monitor,
                 int complaints);
  void Ended(const SandboxPtr& sandbox);
  void Forget(const SandboxPtr& sandbox);

  const HostRef host_;
  Reactor& reactor_;
  const Options& options_;
  Builder builder_;
  const std::shared_ptr<Lifeline<Registry>> line_;
  mutable std::mutex mutex_;
  std::map<std::string, SandboxPtr, std::less<>> by_user_;
  LostSandboxes<Sandbox> lost_;
};

}  // namespace csb::bwrap
