// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/info.h"

#include <cmath>
#include <map>

namespace csb::incus {
namespace {

// A status is asked for often, and a member that is gone keeps nobody.
constexpr Engine::Limit kUsageLimit{2'000};

struct Facts {
  std::string user, instance, status, created_at, image, member;
  double memory_mb = 0, cpu_percent = 0;
  Limits limits;
  Enforced enforced;
};

double Rounded(double value) { return std::round(value * 100) / 100; }

void Write(json::Writer& w, const Facts& f, bool vm) {
  w.StartObject();
  json::Member(w, "user_id", f.user);
  json::Member(w, "container_id", f.instance);
  json::Member(w, "status", f.status);
  json::Member(w, "created_at", f.created_at);
  json::Member(w, "backend", "incus");
  json::Member(w, "type", vm ? "vm" : "container");
  if (!f.member.empty()) json::Member(w, "member", f.member);
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
          .instance = live.name,
          .status = sandbox.paused() ? "paused" : "running",
          .created_at = live.created_at,
          .image = image,
          .member = live.member,
          .limits = live.limits,
          .enforced = sandbox.enforced()};
}

Facts FactsOf(const Record& record, const std::string& status) {
  return {.user = record.user,
          .instance = record.instance,
          .status = status,
          .created_at = record.created_at,
          .image = record.image,
          .member = record.member,
          .limits = record.limits,
          .enforced = {}};
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
  Facts facts = FactsOf(sandbox, sandbox.live().image);
  const bool vm = registry.options().vm;
  if (!with_usage) return ToJson([&](json::Writer& w) { Write(w, facts, vm); });
  if (auto record = registry.RecordOf(sandbox.live().user)) facts.image = record->image;
  if (auto state = registry.engine().State(sandbox.live().name, kUsageLimit)) {
    facts.memory_mb = static_cast<double>(state->memory) / (1 << 20);
    facts.cpu_percent = sandbox.CpuPercent(state->cpu_ns);
  }
  return ToJson([&](json::Writer& w) { Write(w, facts, vm); });
}

std::string InfoOf(Registry& registry, const Record& record) {
  return ToJson([&](json::Writer& w) { Write(w, FactsOf(record, "stopped"), registry.options().vm); });
}

Result<std::string> List(Registry& registry) {
  auto records = registry.records().All();
  if (!records) return records.error();
  // Listing connects to none: a host that is connected counts as one that uses the sandbox.
  std::map<std::string, std::string> status;
  auto instances = registry.engine().Instances(kKeyInstallation, registry.names().installation(), kAskLimit);
  if (instances)
    for (const InstanceInfo& info : *instances)
      status[info.name] = info.status == "Frozen"  ? "paused"
                          : info.status == "Error" ? "unreachable"
                          : info.alive()           ? "running"
                                                   : "stopped";
  const bool vm = registry.options().vm;
  return ToJson([&](json::Writer& w) {
    w.StartObject();
    json::Key(w, "sandboxes");
    w.StartArray();
    for (const Record& record : *records) {
      if (const auto attached = registry.Find(record.user); attached && !attached->over()) {
        Write(w, FactsOf(*attached, record.image), vm);
        continue;
      }
      const auto it = status.find(record.instance);
      // Those of a member that is down are not in the list.
      const bool unknown = !instances || registry.cluster().Down(record.member);
      Write(w, FactsOf(record, it != status.end() ? it->second : unknown ? "unreachable" : "stopped"), vm);
    }
    w.EndArray();
    w.EndObject();
  });
}

}  // namespace csb::incus
