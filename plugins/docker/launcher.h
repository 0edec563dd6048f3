// SPDX-License-Identifier: Apache-2.0
//
// launcher.h: from a name, a workspace and limits to a running container with its agent connected; and to
// one that runs already.
//
//   Launcher launcher(host, reactor, engine, options, names, mark.id());
//   auto sandbox = launcher.Launch({.container = …, .slot = …, .volume = …}, on_lost);
//
// Every function blocks; for workers. Thread-safe for different slots.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/docker/container_spec.h"
#include "plugins/docker/engine.h"
#include "plugins/docker/names.h"
#include "plugins/docker/options.h"
#include "plugins/docker/puller.h"
#include "plugins/docker/sandbox.h"

namespace csb::docker {

// Of one call to the engine. A create of a user consists of several.
inline constexpr std::chrono::milliseconds kAskLimit{5'000};
// Of what a probe asks: the host waits five seconds for all of it.
inline constexpr std::chrono::milliseconds kProbeLimit{3'000};
inline constexpr std::chrono::milliseconds kChangeLimit{30'000};

class Launcher {
 public:
  // host_id: of this process (installation.h); what it makes for a moment is named after it.
  Launcher(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
           std::string host_id);

  // The image's id and PATH; pulled when it is missing and may be.
  Result<ImageInfo> PrepareImage(const std::string& name, const Conversation& talk);
  // As configured, or what the engine turned out to see. `image`: one that it has, to try with.
  Result<ChannelKind> Channel(const std::string& image);

  struct Wanted {
    std::string container, slot;  // the container's name; the folder's
    std::string user;             // "" for the pool
    std::string image;            // by name
    std::string volume, folder;   // of the workspace
    Limits limits;
    Labels labels;  // besides installation, slot and channel
  };
  // On error nothing of it is left.
  Result<std::shared_ptr<Sandbox>> Launch(const Wanted& wanted, const Conversation& talk,
                                          Sandbox::OnLost on_lost);
  // A container that runs. CSB_E_UNAVAILABLE: paused, or its agent does not answer. `limits`: as written
  // down; what the engine says of them wins.
  Result<std::shared_ptr<Sandbox>> Attach(const ContainerInfo& info, const std::string& user, Limits limits,
                                          Sandbox::OnLost on_lost);
  // Kills and removes it, then its folder.
  Status Remove(const std::string& container, const std::string& slot);
  void RemoveSlot(const std::string& slot);

  // One line about the OCI runtime in use.
  std::string Isolation(const EngineInfo& engine) const;
  Labels CommonLabels(const std::string& kind) const;
  // The engine's name of the network of `bridge`.
  std::string BridgeName() const { return names_.prefix() + "bridge"; }

 private:
  Result<std::shared_ptr<Sandbox>> LaunchOn(ChannelKind channel, const ImageInfo& image, const Wanted& wanted,
                                            const Sandbox::OnLost& on_lost, bool* wrong_channel);
  Result<std::shared_ptr<Sandbox>> Connect(std::shared_ptr<Sandbox> sandbox, const ContainerInfo& info,
                                           Live live, std::chrono::milliseconds limit,
                                           Sandbox::OnLost on_lost);
  Error WithComplaints(Error error, ContainerSpec spec, const std::string& name);
  Result<std::string> AgentVolume(const std::string& image);
  Result<std::string> Network(const Limits& limits, std::string* blocked);
  Status Try(ChannelKind channel, const std::string& image);
  mode_t SocketMode();
  // Podman takes what Docker takes as text for the path of a file.
  Status SeccompFile(std::string* path);
  std::string RuntimeOf(const EngineInfo& engine) const;

  const HostRef host_;
  Reactor& reactor_;
  Engine& engine_;
  const Options& options_;
  const Names& names_;
  const std::string host_id_;
  std::mutex agent_volume_making_;
  std::mutex mutex_;
  std::optional<ChannelKind> channel_;
  std::set<std::string> channel_of_;  // "DAEMON IMAGE" that were tried
  std::string agent_volume_;          // with agent_volume_making_ held
  Puller puller_;
};

}  // namespace csb::docker
