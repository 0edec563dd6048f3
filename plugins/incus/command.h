// SPDX-License-Identifier: Apache-2.0
//
// command.h: what the plugin brings to the command line: `clara-sandbox incus trust TOKEN`.
//
//   CSB_PLUGIN_BACKEND_WITH_COMMANDS(IncusBackend, kPlugin, &csb::incus::CommandInterface)   // plugin.cc
#pragma once

#include "clara_sandbox/cpp/command.h"

namespace csb::incus {

const csb_command_v1* CommandInterface();

}  // namespace csb::incus
