// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/plugin.h"

#include "plugins/incus/backend.h"
#include "plugins/incus/command.h"

namespace {

const csb::PluginDescriptor kPlugin{
    .name = "incus",
    .version = CSB_VERSION,
    .description = "Sandboxes as containers or virtual machines of Incus, here, elsewhere or on a cluster",
    .options = csb::incus::DeclaredOptions()};

}  // namespace

CSB_PLUGIN_BACKEND_WITH_COMMANDS(csb::incus::IncusBackend, kPlugin, &csb::incus::CommandInterface)
