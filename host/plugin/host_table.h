// SPDX-License-Identifier: Apache-2.0
//
// host_table.h: the csb_host of one plugin, made from HostServices and the plugin's name.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <string>

#include "clara_sandbox/host.h"
#include "host/plugin/host_services.h"

namespace csb::host {

// Outlives the plugin's instance: the plugin keeps the pointer from create to destroy. One that
// is never destroyed may go on calling after Detach: nothing happens then.
class HostTable {
 public:
  HostTable(std::string plugin, HostServices& services);
  HostTable(const HostTable&) = delete;
  HostTable& operator=(const HostTable&) = delete;
  const csb_host* table() const { return &table_; }
  // The services are not used any more when this has returned.
  void Detach();

 private:
  // Runs f(services, plugin) if they are still there.
  template <typename F>
  static void With(const csb_host* host, F&& f) {
    const HostTable& self = *static_cast<const HostTable*>(host->impl);
    const std::shared_lock lock(self.mutex_);
    if (self.services_ != nullptr) f(*self.services_, self.plugin_);
  }
  static void Log(const csb_host* host, int32_t level, csb_str message);
  static csb_str Config(const csb_host* host, const char* key);
  static uint64_t Now(const csb_host* host);
  static void Count(const csb_host* host, csb_str metric, csb_str labels, double value);
  static csb_status Post(const csb_host* host, void (*fn)(void*), void* ctx);
  static const void* GetExtension(const csb_host* host, const char* id);

  const std::string plugin_;
  mutable std::shared_mutex mutex_;
  HostServices* services_;  // under mutex_
  csb_host table_;
};

}  // namespace csb::host
