// SPDX-License-Identifier: Apache-2.0
//
// loader.h: finds plugins in folders and reads their descriptors.
//
//   ScanResult found = ScanPlugins({"/usr/lib/clara-sandbox/plugins"});
//   for (const LoadedPlugin& p : found.plugins) std::puts(p.descriptor->name);
//   for (const auto& [path, error] : found.refused) std::puts(error.message.c_str());
//
// A scan runs nothing of a plugin but its entry function (and what its library does when it
// is loaded). Libraries are loaded with all symbols bound at once and never unloaded: threads,
// thread-local destructors and static objects of a plugin may outlive its last instance.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/plugin.h"

namespace csb::host {

struct LoadedPlugin {
  std::string path;              // absolute
  const csb_plugin* descriptor;  // static in the library, checked; valid for ever
};

struct ScanResult {
  std::vector<LoadedPlugin> plugins;                   // folders in the order given, file names sorted
  std::vector<std::pair<std::string, Error>> refused;  // path of a file or folder, and why
  std::vector<std::string> skipped;                    // names of files that `wanted` left out, each once
};

// Loads every *.so of the folders. A folder that does not exist is skipped; one that cannot be
// read is in `refused`. Of two plugins with one name the first is taken. Never throws.
// wanted: of a file's name without ".so", whether it is loaded at all; null: each is.
ScanResult ScanPlugins(const std::vector<std::string>& folders,
                       const std::function<bool(std::string_view)>& wanted = nullptr);

// One file; `path` may be relative. Errors: CSB_E_FORBIDDEN when others than root and the
// host's user could change it, CSB_E_UNSUPPORTED when it was built for another host,
// CSB_E_INVALID when it is no plugin or a broken one; the message names file, field and both values.
Result<LoadedPlugin> LoadPlugin(const std::string& path);

// What LoadPlugin checks of a descriptor; `path` stands in the messages. For plugins that are
// linked in (tests).
Status CheckDescriptor(const std::string& path, const csb_plugin* descriptor);

}  // namespace csb::host
