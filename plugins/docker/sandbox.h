// SPDX-License-Identifier: Apache-2.0
//
// sandbox.h: a live container as this host process is attached to it: an EngineSandbox with Docker's words.
//
//   auto sandbox = Sandbox::Listen(host, reactor, name, SandboxWords(), control, 0600);
#pragma once

#include "plugins/common/engine_sandbox.h"

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

}  // namespace csb::docker
