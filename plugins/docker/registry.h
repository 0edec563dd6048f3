// SPDX-License-Identifier: Apache-2.0
//
// registry.h: the sandboxes that this host process is attached to, and how one comes to be, is found again
// and ends. The engine holds the truth, and other host processes act on the same sandboxes: under the user's
// lock the engine is asked before anything is done.
//
//   if (auto sandbox = registry.Find("alice")) …      // attached: no call to the engine
//   auto sandbox = registry.Attach("alice");          // another host's, or of an earlier run
//   auto sandbox = registry.Create("alice", payload, talk);
//
// Find never blocks; everything else does, for a worker. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/common/file_lock.h"
#include "plugins/common/lifeline.h"
#include "plugins/common/lost_sandboxes.h"
#include "plugins/docker/launcher.h"
#include "plugins/docker/names.h"
#include "plugins/docker/pool.h"
#include "plugins/docker/record.h"
#include "plugins/docker/sandbox.h"

namespace csb::docker {

class Registry {
 public:
  Registry(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
           const std::string& host_id);
  ~Registry();  // detaches; sandboxes live on, pooled containers do not

  std::shared_ptr<Sandbox> Find(std::string_view user) const;
  // CSB_E_NO_SANDBOX when there is none alive; removes a dead one.
  Result<std::shared_ptr<Sandbox>> Attach(const std::string& user);
  // CSB_E_CONFLICT when a live one has other limits or another image than the payload asks for.
  Result<std::shared_ptr<Sandbox>> Create(const std::string& user, const json::Value& payload,
                                          const Conversation& talk);
  Result<std::shared_ptr<Sandbox>> Restart(const std::string& user, const Conversation& talk);
  enum class StopResult { kNothing, kStopped, kLeft };
  // if_unused: a sandbox that another host process is connected to goes on; this one lets go of it (kLeft).
  Result<StopResult> Stop(const std::string& user, bool if_unused);
  struct Destroyed {
    bool existed = false;
    bool files_remain = false;
  };
  Result<Destroyed> Destroy(const std::string& user, bool purge);

  Result<Record> RecordOf(const std::string& user) const;  // CSB_E_NOT_FOUND
  // complete: set to whether each that there is could be read.
  std::vector<Record> Records(bool* complete = nullptr) const;
  std::vector<std::shared_ptr<Sandbox>> Attached() const;

  // Fills the pool once nobody has come for a while.
  void RefillLater();
  // Removes a dead container after a while in which whoever restarts it by hand is not disturbed.
  void CleanLater(const std::string& user);
  // Removes it now unless it lives; whoever is attached here lets go.
  void CleanDead(const std::string& user);
  // Runs `work` on a worker, unless this goes first; waited for by the destructor.
  void InBackground(std::function<void(Registry&)> work);

  Result<FileLock> Lock(std::string_view name) const;
  Launcher& launcher() { return launcher_; }
  Pool& pool() { return pool_; }
  const Names& names() const { return names_; }
  const Options& options() const { return options_; }
  Engine& engine() { return engine_; }

 private:
  using SandboxPtr = std::shared_ptr<Sandbox>;
  // All with the user's lock held. `name`: KeyOf(user).
  Result<SandboxPtr> AttachLocked(const std::string& user, const std::string& name);
  Result<SandboxPtr> MakeLocked(const std::string& user, const std::string& name, const Limits& limits,
                                const std::string& image, const Conversation& talk);
  bool MayHaveFiles(const std::string& name) const;
  Result<SandboxPtr> ClaimLocked(const std::string& user, const std::string& name, const Limits& limits,
                                 const std::string& image);
  Result<SandboxPtr> LaunchLocked(const std::string& name, Record record, bool fresh,
                                  const Conversation& talk);
  Result<int> HostsOf(const std::string& container, const std::string& slot, ChannelKind channel);
  bool UsedByOthers(const std::string& name, const SandboxPtr& attached);
  Result<bool> StopLocked(const std::string& user, const std::string& name);
  Status ForgetVoidClaim(const std::string& name, const Record& record);

  Sandbox::OnLost LostHandler();
  void Lost(const SandboxPtr& sandbox, Loss loss);
  void AfterEnd(const std::string& user, const std::string& container, pid_t pid, bool oom);
  void Keep(const SandboxPtr& sandbox);
  void Forget(const SandboxPtr& sandbox);
  Result<std::string> AllowedImage(const json::Value& payload) const;

  const HostRef host_;
  Reactor& reactor_;
  Engine& engine_;
  const Options& options_;
  const Names& names_;
  Launcher launcher_;
  Pool pool_;
  const std::shared_ptr<Lifeline<Registry>> line_;
  mutable std::mutex mutex_;
  std::map<std::string, SandboxPtr, std::less<>> by_user_;
  LostSandboxes<Sandbox> lost_;
  Reactor::TimerId refill_ = 0;
};

}  // namespace csb::docker
