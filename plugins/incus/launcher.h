// SPDX-License-Identifier: Apache-2.0
//
// launcher.h: from a name, a workspace and limits to a running instance with its agent connected; and to one
// that runs already.
//
//   Launcher launcher(host, reactor, engine, options, names, mark.id(), machine);
//   auto sandbox = launcher.Launch({.instance = …, .volume = …}, talk, on_lost);
//
// Every function blocks; for workers. Thread-safe for different instances.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/common/conversation.h"
#include "plugins/common/engine_sandbox.h"
#include "plugins/incus/engine.h"
#include "plugins/incus/image.h"
#include "plugins/incus/instance_spec.h"
#include "plugins/incus/limits.h"
#include "plugins/incus/names.h"
#include "plugins/incus/network.h"
#include "plugins/incus/options.h"
#include "plugins/incus/tools.h"

namespace csb::incus {

using Sandbox = EngineSandbox;

class Launcher {
 public:
  // host_id: of this process; machine: of what sees its folders.
  Launcher(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
           std::string host_id, std::string machine);

  // What a name as configured stands for now: of a local one the fingerprint.
  Result<ResolvedImage> FindImage(const std::string& name);
  // As configured, or what the engine turned out to see.
  Result<ChannelKind> Channel();
  // The storage pool; found once.
  Result<PoolInfo> Storage();

  struct Wanted {
    std::string instance;  // name
    std::string user;      // "" for the pool
    std::string image;     // as configured
    std::string pool, volume;
    std::string member;  // "" outside a cluster
    Limits limits;
    std::string kind;  // sandbox pool
  };
  // CSB_E_CONFLICT: an instance of that name is there, perhaps another host's that is being made. On any
  // error nothing of ours is left.
  Result<std::shared_ptr<Sandbox>> Launch(const Wanted& wanted, const Conversation& talk,
                                          Sandbox::OnLost on_lost);
  // One that runs. CSB_E_UNAVAILABLE: its agent does not answer. `limits`: as written down.
  Result<std::shared_ptr<Sandbox>> Attach(const InstanceInfo& info, const std::string& user, Limits limits,
                                          Sandbox::OnLost on_lost);
  // Stops and deletes it, then its folder here.
  Status Remove(const std::string& instance);
  void RemoveSlot(const std::string& instance);
  // The engine says that it ended, so that nobody waits for its agent.
  void NoteEnd(const std::string& instance);

  std::string Isolation() const;
  Config CommonLabels(const std::string& kind) const;
  Result<std::string> ToolsDigest() { return tools_.Digest(); }
  const std::string& machine() const { return machine_; }
  bool Local() const { return !engine_.http().endpoint().unix_socket.empty(); }
  // Of sessions: behind a socket of this machine nothing falls silent but a frozen instance.
  bool WatchesSilence(bool clustered) const { return !Local() || clustered; }

 private:
  Result<std::shared_ptr<Sandbox>> LaunchOn(ChannelKind channel, const ResolvedImage& image,
                                            const Wanted& wanted, const Conversation& talk,
                                            const Sandbox::OnLost& on_lost, bool* no_folders);
  Status Push(const std::string& instance, const std::string& suffix = "");
  // The volume of tools on that member, filled.
  Result<std::string> ToolsVolume(const ResolvedImage& image, const std::string& pool,
                                  const std::string& member, bool again = false);
  Status FillTools(const ResolvedImage& image, const std::string& pool, const std::string& volume,
                   const std::string& member);
  Status StartAgent(const std::string& instance, const InstanceSpec& spec);
  Result<std::shared_ptr<Sandbox>> Connect(std::shared_ptr<Sandbox> sandbox, Live live,
                                           std::chrono::milliseconds limit, Sandbox::OnLost on_lost);
  uint64_t RootSize(const ResolvedImage& image, uint64_t disk);
  // What the image takes is known once an instance of it is there.
  Status FitRoot(const InstanceSpec& spec, uint64_t disk);
  Status EnsurePython(Sandbox& sandbox, const std::string& fingerprint, const Conversation& talk);
  EngineWords Words() const;

  const HostRef host_;
  Reactor& reactor_;
  Engine& engine_;
  const Options& options_;
  const Names& names_;
  const std::string host_id_, machine_;
  Tools tools_;
  Networks networks_;
  std::atomic<uint64_t> fillers_{0};
  std::mutex mutex_;
  std::optional<ChannelKind> channel_;
  std::optional<PoolInfo> storage_;
  std::map<std::string, std::mutex> filling_;  // by member; with mutex_ held until it is found
  std::set<std::string> with_tools_;           // members whose volume is filled
  std::set<std::string> with_python_;          // fingerprints
  std::map<std::string, uint64_t> unpacked_;   // bytes that an image takes, by fingerprint
  std::map<std::string, std::weak_ptr<Sandbox>> launching_;
};

}  // namespace csb::incus
