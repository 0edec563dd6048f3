// SPDX-License-Identifier: Apache-2.0
//
// Called by plugins, so arguments are checked and nothing may throw: what does (memory) ends
// the process by noexcept, with a clear trace, instead of unwinding through foreign frames.
#include "host/plugin/host_table.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

HostTable::HostTable(std::string plugin, HostServices& services)
    : plugin_(std::move(plugin)), services_(services), table_{sizeof(csb_host), 0,    this,   &Log,
                                                              &Config,          &Now, &Count, &Post,
                                                              &GetExtension} {}

void HostTable::Log(const csb_host* host, int32_t level, csb_str message) {
  const HostTable& self = Of(host);
  self.services_.Log(std::clamp(level, CSB_LOG_TRACE, CSB_LOG_ERROR), self.plugin_, View(message));
}

csb_str HostTable::Config(const csb_host* host, const char* key) {
  if (key == nullptr) return {nullptr, 0};
  const auto value = Of(host).services_.Config(key);
  if (!value) return {nullptr, 0};
  return {value->data() != nullptr ? value->data() : "", value->size()};
}

uint64_t HostTable::Now(const csb_host*) {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

void HostTable::Count(const csb_host* host, csb_str metric, csb_str labels, double value) {
  Of(host).services_.Count(View(metric), View(labels), value);
}

csb_status HostTable::Post(const csb_host* host, void (*fn)(void*), void* ctx) {
  if (fn == nullptr) return CSB_E_INVALID;
  const HostTable& self = Of(host);
  const auto work = [fn, ctx, &services = self.services_, &plugin = self.plugin_] {
    try {
      fn(ctx);
    } catch (...) {
      services.Log(CSB_LOG_ERROR, plugin, "an exception left posted work (plugin-contract rule 9)");
    }
  };
  return self.services_.Post(work) ? CSB_OK : CSB_E_UNAVAILABLE;
}

const void* HostTable::GetExtension(const csb_host*, const char*) { return nullptr; }

}  // namespace csb::host
