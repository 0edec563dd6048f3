// SPDX-License-Identifier: Apache-2.0
//
// container_spec.h: the body of a container's create: everything that hardens it stands here.
//
//   ContainerSpec spec{.image = …, .slot = …};
//   engine.CreateContainer(name, ContainerBody(options, spec), limit);
#pragma once

#include <string>
#include <vector>

#include "plugins/docker/engine.h"
#include "plugins/docker/options.h"

namespace csb::docker {

inline constexpr char kWorkspaceInside[] = "/workspace";
// The agent, and a supervisor for each command, need room beside what user code may have.
inline constexpr uint64_t kAgentPids = 8;
inline constexpr char kControlInside[] = "/run/clara/ctl";

struct ContainerSpec {
  std::string image;             // by id, so that a tag that moves meanwhile changes nothing
  std::vector<std::string> env;  // of the image, "NAME=value"
  Limits limits;
  Labels labels;
  ChannelKind channel = ChannelKind::kSocket;
  std::string volume, folder;  // of the workspace: one of them, or none for a container that never starts
  std::string control;         // socket: the folder on the host
  std::string agent_volume;    // exec: holds the agent; likewise
  std::string network;         // the engine's name of it; "" for none
  std::string blocked;         // ranges that the agent makes unreachable
  std::string seccomp_file;    // the profile's path, for an engine that takes no text
  bool log = false;            // keep what the agent writes: a log driver makes starting a quarter slower
};

// Where the agent stands inside.
std::string AgentInside(ChannelKind channel);
// JSON; see Docker Engine API, ContainerCreate.
std::string ContainerBody(const Options& options, const ContainerSpec& spec);
// The profile to use, as text; "" for the engine's own default.
std::string ProfileOf(const Options& options);
// Our policy of system calls in the engine's form (Docker docs, "Seccomp security profiles").
std::string SeccompProfile();

}  // namespace csb::docker
