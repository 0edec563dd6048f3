// SPDX-License-Identifier: Apache-2.0
//
// host_table.h: the csb_host of one plugin, made from HostServices and the plugin's name.
#pragma once

#include <string>

#include "clara_sandbox/host.h"
#include "host/plugin/host_services.h"

namespace csb::host {

// Outlives the plugin's instance: the plugin keeps the pointer from create to destroy.
class HostTable {
 public:
  HostTable(std::string plugin, HostServices& services);
  HostTable(const HostTable&) = delete;
  HostTable& operator=(const HostTable&) = delete;
  const csb_host* table() const { return &table_; }

 private:
  static const HostTable& Of(const csb_host* host) { return *static_cast<const HostTable*>(host->impl); }
  static void Log(const csb_host* host, int32_t level, csb_str message);
  static csb_str Config(const csb_host* host, const char* key);
  static uint64_t Now(const csb_host* host);
  static void Count(const csb_host* host, csb_str metric, csb_str labels, double value);
  static csb_status Post(const csb_host* host, void (*fn)(void*), void* ctx);
  static const void* GetExtension(const csb_host* host, const char* id);

  const std::string plugin_;
  HostServices& services_;
  csb_host table_;
};

}  // namespace csb::host
