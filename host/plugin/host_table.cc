// SPDX-License-Identifier: Apache-2.0
//
// Called by plugins, so arguments are checked and nothing may throw: what does (memory) ends
// the process by noexcept, with a clear trace, instead of unwinding through foreign frames.
#include "host/plugin/host_table.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "clara_sandbox/cpp/result.h"
#include "host/plugin/call.h"

namespace csb::host {

HostTable::HostTable(std::string plugin, HostServices& services)
    : plugin_(std::move(plugin)), services_(&services), table_{sizeof(csb_host), 0,    this,   &Log,
                                                               &Config,          &Now, &Count, &Post,
                                                               &GetExtension} {}

void HostTable::Detach() {
  const std::unique_lock lock(mutex_);
  services_ = nullptr;
}

void HostTable::Log(const csb_host* host, int32_t level, csb_str message) {
  With(host, [&](HostServices& services, const std::string& plugin) {
    services.Log(std::clamp(level, CSB_LOG_TRACE, CSB_LOG_ERROR), plugin, View(message));
  });
}

csb_str HostTable::Config(const csb_host* host, const char* key) {
  csb_str text{nullptr, 0};
  if (key == nullptr) return text;
  With(host, [&](HostServices& services, const std::string&) {
    if (const auto value = services.Config(key)) text = {value->data() ? value->data() : "", value->size()};
  });
  return text;
}

uint64_t HostTable::Now(const csb_host*) {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

void HostTable::Count(const csb_host* host, csb_str metric, csb_str labels, double value) {
  With(host, [&](HostServices& services, const std::string&) {
    services.Count(View(metric), View(labels), value);
  });
}

csb_status HostTable::Post(const csb_host* host, void (*fn)(void*), void* ctx) {
  if (fn == nullptr) return CSB_E_INVALID;
  bool posted = false;
  With(host, [&](HostServices& services, const std::string& plugin) {
    // The workers are the services' own: those are there while the work runs.
    posted = services.PostForPlugin([fn, ctx, &services, plugin] {
      if (Status s = CallPlugin(plugin, "posted work", [&] { fn(ctx); }); !s)
        services.Log(CSB_LOG_ERROR, plugin, s.error().message);
    });
  });
  return posted ? CSB_OK : CSB_E_UNAVAILABLE;
}

const void* HostTable::GetExtension(const csb_host*, const char*) { return nullptr; }

}  // namespace csb::host
