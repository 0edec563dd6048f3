// SPDX-License-Identifier: Apache-2.0
//
// plugin_command.h: commands that plugins bring: `clara-sandbox PLUGIN COMMAND ARGUMENTS…`.
//
//   if (auto code = PluginMain(rest, keys, config, help)) return *code;   // else there is no such plugin
//   PrintPluginCommands(arguments);                                       // for --help
//
// A plugin's commands are there as soon as the plugin is in a folder of sandbox.plugin_dirs, enabled or not:
// they are what makes it usable. Keys, --config and --help may stand before and behind COMMAND; everything
// from the first other word on is the plugin's.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/commands/arguments.h"

namespace csb::host {

// words: PLUGIN and what follows. help: print the help text only. The exit code; nullopt, and nothing
// printed, if no plugin of that name was found.
std::optional<int> PluginMain(const std::vector<std::string>& words,
                              const std::vector<std::pair<std::string, std::string>>& keys,
                              const std::string& config, bool help);

// Their part of the help text; nothing where there are none.
void PrintPluginCommands(const Arguments& arguments);

}  // namespace csb::host
