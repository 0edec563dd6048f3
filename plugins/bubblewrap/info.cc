// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/info.h"

#include <cmath>

namespace csb::bwrap {
namespace {

double Rounded(double value) { return std::round(value * 100) / 100; }

void Head(json::Writer& w, const std::string& user, const std::string& name, const char* status,
          const std::string& created_at) {
  json::Member(w, "user_id", user);
  json::Member(w, "container_id", name);
  json::Member(w, "status", status);
  json::Member(w, "created_at", created_at);
  json::Member(w, "backend", "bubblewrap");
}

void Running(json::Writer& w, const LiveRecord& live, const std::string& name, double cpu_percent,
             const Enforced& enforced) {
  w.StartObject();
  Head(w, live.user, name, "running", live.created_at);
  json::Member(w, "memory_usage_mb", Rounded(static_cast<double>(live.cgroup.MemoryUsage()) / (1 << 20)));
  json::Member(w, "cpu_percent", Rounded(cpu_percent));
  json::Key(w, "limits");
  WriteLimits(w, live.limits);
  json::Key(w, "enforced");
  WriteEnforced(w, enforced);
  w.EndObject();
}

}  // namespace

void WriteInfo(json::Writer& w, Sandbox& sandbox) {
  Running(w, sandbox.live(), sandbox.name(), sandbox.CpuPercent(), sandbox.enforced());
}

void WriteListedInfo(json::Writer& w, const LiveRecord& live, const std::string& name,
                     const Enforced& enforced) {
  Running(w, live, name, 0, enforced);
}

void WriteStoppedInfo(json::Writer& w, const UserRecord& record, const std::string& name,
                      const Limits& limits) {
  w.StartObject();
  Head(w, record.user, name, "stopped", record.created_at);
  json::Member(w, "memory_usage_mb", 0.0);
  json::Member(w, "cpu_percent", 0.0);
  json::Key(w, "limits");
  WriteLimits(w, limits);
  json::Key(w, "enforced");
  w.StartObject();
  w.EndObject();
  w.EndObject();
}

}  // namespace csb::bwrap
