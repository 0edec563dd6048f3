// SPDX-License-Identifier: Apache-2.0
//
// sandbox_limits.h: what a sandbox of an engine may use, and how that is written down.
//
//   WriteLimits(writer, {.memory = 512 << 20, .cpu = 1.0});
//   SandboxLimits limits = ReadLimits(*json::Find(document, "limits"));
#pragma once

#include <cstdint>
#include <string>

#include "clara_sandbox/cpp/json.h"

namespace csb {

// 0 is unlimited.
struct SandboxLimits {
  uint64_t memory = 0;  // bytes, swap included
  double cpu = 0;       // cores
  uint64_t pids = 0;
  uint64_t disk = 0;  // bytes, of the workspace and of the sandbox's own layer each
  std::string network = "none";

  bool operator==(const SandboxLimits&) const = default;
};

void WriteLimits(json::Writer& writer, const SandboxLimits& limits);
// What is missing or has another type is as above.
SandboxLimits ReadLimits(const json::Value& object);

// How the agent is reached: through a folder of this machine that is mounted in the sandbox, or through a
// stream of the engine.
enum class ChannelKind { kSocket, kExec };

}  // namespace csb
