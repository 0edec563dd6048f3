// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/limits.h"

namespace csb::bwrap {
namespace {

Error Invalid(std::string message) { return {CSB_E_INVALID, std::move(message), "", false}; }

}  // namespace

std::string_view NameOf(Network network) {
  switch (network) {
    case Network::kHost:
      return "host";
    case Network::kPasta:
      return "pasta";
    case Network::kNone:
      break;
  }
  return "none";
}

Result<Network> ParseNetwork(std::string_view name) {
  if (name == "none") return Network::kNone;
  if (name == "host") return Network::kHost;
  if (name == "pasta") return Network::kPasta;
  return Invalid("network: \"" + std::string(name) + "\" is none of: none host pasta");
}

Status ApplyRequestedLimits(const json::Value& payload, Limits* limits) {
  auto asked = ReadRequestedLimits(payload);
  if (!asked) return asked.error();
  limits->memory = asked->memory.value_or(limits->memory);
  limits->cpu = asked->cpu.value_or(limits->cpu);
  return {};
}

void WriteLimits(json::Writer& w, const Limits& limits) {
  w.StartObject();
  json::Member(w, "memory", limits.memory);
  json::Member(w, "cpu", limits.cpu);
  json::Member(w, "pids", limits.pids);
  json::Member(w, "disk", limits.disk);
  json::Member(w, "network", NameOf(limits.network));
  w.EndObject();
}

Result<Limits> ReadLimits(const json::Value& object) {
  const auto count = [&](const char* name) {
    return static_cast<uint64_t>(json::GetInt(object, name).value_or(0));
  };
  auto network = ParseNetwork(json::GetString(object, "network").value_or("none"));
  if (!network) return network.error();
  return Limits{count("memory"), json::GetNumber(object, "cpu").value_or(0), count("pids"), count("disk"),
                *network};
}

}  // namespace csb::bwrap
