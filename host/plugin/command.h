// SPDX-License-Identifier: Apache-2.0
//
// command.h: a plugin's own commands, run from the command line.
//
//   auto table = FindCommands(plugin);            // CSB_E_UNSUPPORTED: it has none
//   for (uint32_t i = 0; i < (*table)->command_count; ++i) std::puts(CommandAt(**table, i)->name);
//   Status status = RunCommand(plugin, **table, "trust", {token}, services, print);
//
// Tables are checked before use. Nothing here throws, also when the plugin does. No instance is made.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/command.h"
#include "clara_sandbox/cpp/result.h"
#include "host/plugin/host_services.h"
#include "host/plugin/loader.h"

namespace csb::host {

// Command `index` of a table. A plugin made with later headers has larger ones.
inline const csb_command* CommandAt(const csb_command_v1& table, uint32_t index) {
  return reinterpret_cast<const csb_command*>(reinterpret_cast<const char*>(table.commands) +
                                              static_cast<size_t>(index) * table.commands->struct_size);
}

// CSB_E_UNSUPPORTED: it has none, or those of another host.
Result<const csb_command_v1*> FindCommands(const LoadedPlugin& plugin);

// stream: CSB_STREAM_STDOUT or CSB_STREAM_STDERR. One call at a time.
using PrintText = std::function<void(uint32_t stream, std::string_view text)>;

// Blocks until the command is done. What it prints later is dropped; on another stream, too, and logged.
Status RunCommand(const LoadedPlugin& plugin, const csb_command_v1& table, const std::string& name,
                  const std::vector<std::string>& arguments, HostServices& services, const PrintText& print);

}  // namespace csb::host
