// SPDX-License-Identifier: Apache-2.0
//
// host_options.h: the options of the host itself, and the ones whose default depends on the machine.
#pragma once

#include <span>

#include "host/config/config.h"

namespace csb::host {

// sandbox.*, log.* and run.*; static.
std::span<const csb_option> HostOptions();

// Fills what is unset and depends on the machine: sandbox.plugin_dirs (PREFIX/lib/clara-sandbox/plugins
// beside the running binary, which holds in the build tree and once installed), sandbox.state_dir,
// sandbox.runtime_dir and run.user. Makes no folder.
void FillDefaults(Config& config, const Environ& environ);

// Values that only make sense together: known limits in the lists, default timeout not over the maximum.
// `backends`: the names of the backends found.
Status CheckTogether(Config& config, const std::vector<std::string>& backends);

// The folder of the running binary; "" if the kernel does not tell.
std::string BinaryFolder();

// sandbox.plugin_dirs, separated by colons.
std::vector<std::string> PluginDirs(const Config& config);

}  // namespace csb::host
