// SPDX-License-Identifier: Apache-2.0
//
// limits.h: what a sandbox may use. 0 means unlimited, everywhere.
//
//   Limits limits = options.limits;
//   if (Status s = ApplyRequestedLimits(payload, &limits); !s) return s;   // a create's payload
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/limit_text.h"

namespace csb::bwrap {

enum class Network { kNone, kHost, kPasta };

std::string_view NameOf(Network network);
Result<Network> ParseNetwork(std::string_view name);

struct Limits {
  uint64_t memory = 0;  // bytes
  double cpu = 0;       // cores
  uint64_t pids = 0;    // processes and threads of user code
  uint64_t disk = 0;    // bytes of the workspace
  Network network = Network::kNone;

  bool operator==(const Limits&) const = default;
};

// memory_limit (bytes or text like "512m") and cpu_limit (cores) of a create; errors name the member.
Status ApplyRequestedLimits(const json::Value& payload, Limits* limits);

void WriteLimits(json::Writer& writer, const Limits& limits);
Result<Limits> ReadLimits(const json::Value& object);

}  // namespace csb::bwrap
