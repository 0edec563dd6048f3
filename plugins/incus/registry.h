// SPDX-License-Identifier: Apache-2.0
//
// registry.h: the sandboxes that this host process is attached to, and how one comes to be, is found again
// and ends. The engine holds the truth (records.h), and other hosts, on other machines too, act on the same
// sandboxes. Hosts of one machine take turns at a user by a lock; for all others the engine decides:
//
//   a user's first sandbox     the record is made once; who is second attaches to what it names
//   a later one                the record names the instance to be made; a name is taken once
//   an end                     the record is moved on to the next name, by who has seen it as it is; the old
//                              instance is deleted afterwards, while the next may run already
//
//   if (auto sandbox = registry.Find("alice")) …      // attached: no call to the engine
//   auto sandbox = registry.Attach("alice");          // another host's, or of an earlier run
//   auto sandbox = registry.Create("alice", payload, talk);
//
// Find never blocks; everything else does, for a worker. Thread-safe.
#pragma once

#include <chrono>
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
#include "plugins/incus/cluster.h"
#include "plugins/incus/launcher.h"
#include "plugins/incus/names.h"
#include "plugins/incus/pool.h"
#include "plugins/incus/records.h"

namespace csb::incus {

class Registry {
 public:
  Registry(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
           const std::string& host_id, const std::string& machine);
  ~Registry();  // detaches; sandboxes live on, pooled instances do not

  std::shared_ptr<Sandbox> Find(std::string_view user) const;
  // CSB_E_NO_SANDBOX when there is none alive.
  Result<std::shared_ptr<Sandbox>> Attach(const std::string& user);
  // CSB_E_CONFLICT when a live one has other limits or another image than the payload asks for.
  Result<std::shared_ptr<Sandbox>> Create(const std::string& user, const json::Value& payload,
                                          const Conversation& talk);
  Result<std::shared_ptr<Sandbox>> Restart(const std::string& user, const Conversation& talk);
  enum class StopResult { kNothing, kStopped, kLeft };
  // if_unused: only when no other host process is connected; else this one lets go (kLeft).
  Result<StopResult> Stop(const std::string& user, bool if_unused);
  struct Destroyed {
    bool existed = false;
    bool files_remain = false;
  };
  Result<Destroyed> Destroy(const std::string& user, bool purge);

  Result<Record> RecordOf(const std::string& user) const;  // CSB_E_NOT_FOUND
  std::vector<std::shared_ptr<Sandbox>> Attached() const;
  std::shared_ptr<Sandbox> AttachedAs(std::string_view instance) const;

  // Something happened to an instance of ours, on the reactor's thread.
  void OnLifecycle(const std::string& action, const std::string& instance);
  // Tells the attached what was missed of their ends while no events came. Blocks.
  void Compare();
  // Lets go of all that holds up a server which is about to end.
  void LetGoOfStreams();

  // Fills the pool once nobody has come for a while.
  void RefillLater();
  // Moves on from a dead instance after a while in which whoever restarts it by hand is not disturbed.
  void CleanLater(const std::string& user);
  void CleanDead(const std::string& user);
  // The same of one that no sandbox here stands for.
  void CleanUnheldLater(const std::string& instance);
  // Runs `work` on a worker, unless this goes first; waited for by the destructor.
  void InBackground(std::function<void(Registry&)> work);
  // Deletes an instance that no record names any more.
  void RemoveLater(const std::string& instance);

  Result<FileLock> Lock(std::string_view key) const;
  const Records& records() const { return records_; }
  Launcher& launcher() { return launcher_; }
  Pool& pool() { return pool_; }
  Cluster& cluster() { return cluster_; }
  const Names& names() const { return names_; }
  const Options& options() const { return options_; }
  Engine& engine() { return engine_; }
  const std::string& host_id() const { return host_id_; }
  const std::string& machine() const { return machine_; }

 private:
  using SandboxPtr = std::shared_ptr<Sandbox>;
  // All with the user's lock held. `key`: KeyOf(user).
  Result<SandboxPtr> AttachLocked(const std::string& user, const std::string& key);
  Result<SandboxPtr> AttachTo(const Record& record, const std::string& key);
  Result<SandboxPtr> MakeLocked(const std::string& user, const std::string& key, const Limits& limits,
                                const std::string& image, const Conversation& talk);
  Result<SandboxPtr> MakeOnce(const std::string& user, const std::string& key, const Limits& limits,
                              const std::string& image, const Conversation& talk);
  Result<SandboxPtr> ClaimLocked(const std::string& user, const std::string& key, const Limits& limits,
                                 const std::string& image);
  Result<Record> NewRecord(const std::string& user, const std::string& key, const Limits& limits,
                           const std::string& image, const std::string& member);
  Status EnsureVolume(const std::string& key, Record& record, bool* made);
  // Files of a member that is evacuated go to another one (evacuation.cc). The record is read anew.
  Status FollowEvacuation(const std::string& key, Record& record, const Conversation& talk);
  Status MoveFiles(const std::string& key, Record& record, const std::string& to);
  Status BeginMove(const std::string& key);
  Status AwaitMove(const std::string& key);  // of another host
  Status Retire(const std::string& key, const Record& record);
  Result<bool> StopLocked(const std::string& user, const std::string& key);
  Status RemoveVolume(const Record& record);
  // Until another host has made what it is making. False: it is not there any more.
  Result<bool> AwaitMade(const InstanceInfo& info);
  bool UsedByOthers(const std::string& user, const SandboxPtr& attached);

  Sandbox::OnLost LostHandler();
  void Lost(const SandboxPtr& sandbox, Loss loss);
  void NudgeThoseOn(const std::string& member);
  // It lives and can't be attached to, and its member answers: whether that is so for too long.
  bool MuteForLong(const std::string& instance);
  std::optional<Error> DownFor(const Record& record);
  void Keep(const SandboxPtr& sandbox);
  void Forget(const SandboxPtr& sandbox);
  Result<std::string> AllowedImage(const json::Value& payload) const;

  const HostRef host_;
  Reactor& reactor_;
  Engine& engine_;
  const Options& options_;
  const Names& names_;
  const std::string host_id_, machine_;
  Records records_;
  const std::shared_ptr<Lifeline<Registry>> line_;
  Cluster cluster_;
  Launcher launcher_;
  Pool pool_;
  mutable std::mutex mutex_;
  std::map<std::string, SandboxPtr, std::less<>> by_user_;
  LostSandboxes<Sandbox> lost_;
  struct Mute {
    std::chrono::steady_clock::time_point first, last;  // failed attempts
  };
  std::map<std::string, Mute> mute_;                             // instances that could not be attached to
  std::map<std::string, std::string, std::less<>> last_member_;  // of users whose sandboxes were attached
  Reactor::TimerId refill_ = 0;
};

}  // namespace csb::incus
