// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/info.h"

#include <cmath>
#include <set>

#include "clara_sandbox/cpp/identity.h"

namespace csb::docker {
namespace {

struct Facts {
  std::string user, container, status, created_at, image;
  double memory_mb = 0, cpu_percent = 0;
  Limits limits;
  Enforced enforced;
};

double Rounded(double value) { return std::round(value * 100) / 100; }

void Write(json::Writer& w, const Facts& f) {
  w.StartObject();
  json::Member(w, "user_id", f.user);
  json::Member(w, "container_id", f.container);
  json::Member(w, "status", f.status);
  json::Member(w, "created_at", f.created_at);
  json::Member(w, "backend", "docker");
  json::Member(w, "image", f.image);
  json::Member(w, "memory_usage_mb", Rounded(f.memory_mb));
  json::Member(w, "cpu_percent", Rounded(f.cpu_percent));
  json::Key(w, "limits");
  WriteLimits(w, f.limits);
  json::Key(w, "enforced");
  WriteEnforced(w, f.enforced);
  w.EndObject();
}

Facts FactsOf(const Sandbox& sandbox, const std::string& image) {
  const Live& live = sandbox.live();
  return {.user = live.user,
          .container = live.name,
          .status = sandbox.paused() ? "paused" : "running",
          .created_at = live.created_at,
          .image = image,
          .limits = live.limits,
          .enforced = sandbox.enforced()};
}

template <typename F>
std::string ToJson(F&& write) {
  json::Buffer buffer;
  json::Writer w(buffer);
  write(w);
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

std::string InfoOf(Registry& registry, Sandbox& sandbox, bool with_usage) {
  auto record = registry.RecordOf(sandbox.live().user);
  Facts facts = FactsOf(sandbox, record ? record->image : sandbox.live().image);
  if (!with_usage) return ToJson([&](json::Writer& w) { Write(w, facts); });
  if (auto usage = registry.engine().Stats(sandbox.live().container, kAskLimit); usage && usage->known) {
    facts.memory_mb = static_cast<double>(usage->memory) / (1 << 20);
    facts.cpu_percent = sandbox.CpuPercent(usage->cpu_ns);
  }
  return ToJson([&](json::Writer& w) { Write(w, facts); });
}

std::string InfoOf(Registry& registry, const Record& record) {
  const Facts facts{.user = record.user,
                    .container = registry.names().Container(KeyOf(record.user)),
                    .status = "stopped",
                    .created_at = record.created_at,
                    .image = record.image,
                    .limits = record.limits,
                    .enforced = {}};
  return ToJson([&](json::Writer& w) { Write(w, facts); });
}

std::string List(Registry& registry) {
  // Listing connects to none: a host that is connected counts as one that uses the sandbox.
  std::set<std::string> running;
  if (auto containers = registry.engine().List(registry.names().InstallationFilter(), kAskLimit))
    for (const ListedContainer& c : *containers)
      if (c.status == "running" || c.status == "paused") running.insert(c.name);
  return ToJson([&](json::Writer& w) {
    w.StartObject();
    json::Key(w, "sandboxes");
    w.StartArray();
    for (const Record& record : registry.Records()) {
      if (const auto attached = registry.Find(record.user); attached && !attached->over()) {
        Write(w, FactsOf(*attached, record.image));
        continue;
      }
      const std::string name = registry.names().Container(KeyOf(record.user));
      Write(w, {.user = record.user,
                .container = name,
                .status = running.contains(name) ? "running" : "stopped",
                .created_at = record.created_at,
                .image = record.image,
                .limits = record.limits,
                .enforced = {}});
    }
    w.EndArray();
    w.EndObject();
  });
}

}  // namespace csb::docker
