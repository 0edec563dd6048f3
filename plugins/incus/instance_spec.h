// SPDX-License-Identifier: Apache-2.0
//
// instance_spec.h: the body of an instance's create: everything that hardens it stands here.
//
//   InstanceSpec spec{.name = …, .image = …};
//   engine.CreateInstance(InstanceBody(options, spec), member, limit);
#pragma once

#include <string>
#include <vector>

#include "plugins/incus/network.h"
#include "plugins/incus/options.h"
#include "plugins/incus/remotes.h"

namespace csb::incus {

inline constexpr char kWorkspaceInside[] = "/workspace";
inline constexpr char kToolsInside[] = "/.clara/bin";
inline constexpr char kAgentInside[] = "/.clara/bin/clara-sandbox-agent";
inline constexpr char kSeccompInside[] = "/.clara/bin/seccomp";
inline constexpr char kControlInside[] = "/.clara/ctl";      // hosts' sockets, mounted read-only
inline constexpr char kBridgesInside[] = "/.clara/bridges";  // of hosts elsewhere, made by the agent
// The agent, and a supervisor for each command, need room beside what user code may have; an image's own
// services more.
inline constexpr uint64_t kAgentPids = 8, kImagePids = 128;

struct InstanceSpec {
  std::string name;
  ImageRef image;
  Limits limits;
  Config labels;
  ChannelKind channel = ChannelKind::kSocket;
  std::string control;       // socket: the folder on the host
  std::string tools;         // the folder with the agent, on the host
  std::string tools_volume;  // or the volume with it; neither: it is pushed
  std::string init;          // what is run instead of the agent
  std::string pool, volume;
  Attachment network;
  uint64_t root_size = 0;  // bytes; 0: unlimited
  bool start = true;
};

// What the agent is started with inside, its path first.
std::vector<std::string> AgentCommand(const Options& options, const InstanceSpec& spec);
// JSON; see the Incus REST API, InstancesPost.
std::string InstanceBody(const Options& options, const InstanceSpec& spec);
// The hard quota of limits.cpu.allowance: "50ms/100ms".
std::string CpuAllowance(double cores);

}  // namespace csb::incus
