// SPDX-License-Identifier: Apache-2.0
//
// sandbox.h: a live container as this host process is attached to it: an EngineSandbox, and Docker's words.
//
//   auto sandbox = Sandbox::Listen(host, reactor, name, SandboxWords(), control, 0600);
#pragma once

#include "plugins/common/engine_sandbox.h"
#include "plugins/common/readback.h"

namespace csb::docker {

using Sandbox = EngineSandbox;

inline EngineWords SandboxWords() {
  return {.kind = "container",
          .unpause = "docker unpause ",
          .oom_hint =
              "raise DOCKER_SANDBOX_MEMORY (docker.memory, or memory_limit of create), use less "
              "memory, or work in chunks",
          .channel_hint =
              "the machine may be overloaded: try again; or set docker.channel=exec, if the "
              "engine does not see this machine's folders or processes"};
}

inline ReadBackWords EnforcedWords() {
  return {.disk = "project quota of the engine's storage",
          .own_network = "own bridge without traffic between sandboxes",
          .joined_network = "the named network is joined as it is",
          .userns = "user namespace of the engine (userns-remap or rootless)",
          .no_userns = "user code has a uid of its own without capabilities; the engine remaps no uids"};
}

}  // namespace csb::docker
