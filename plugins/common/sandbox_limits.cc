// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/sandbox_limits.h"

#include <algorithm>

namespace csb {

void WriteLimits(json::Writer& w, const SandboxLimits& limits) {
  w.StartObject();
  json::Member(w, "memory", limits.memory);
  json::Member(w, "cpu", limits.cpu);
  json::Member(w, "pids", limits.pids);
  json::Member(w, "disk", limits.disk);
  json::Member(w, "network", limits.network);
  w.EndObject();
}

SandboxLimits ReadLimits(const json::Value& object) {
  const auto count = [&](const char* name) {
    return static_cast<uint64_t>(std::max<int64_t>(0, json::GetInt(object, name).value_or(0)));
  };
  return {count("memory"), json::GetNumber(object, "cpu").value_or(0), count("pids"), count("disk"),
          std::string(json::GetString(object, "network").value_or("none"))};
}

}  // namespace csb
