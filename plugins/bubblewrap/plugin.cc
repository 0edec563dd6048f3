// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/plugin.h"

#include "plugins/bubblewrap/backend.h"

namespace {

const csb::PluginDescriptor kPlugin{
    .name = "bubblewrap",
    .version = CSB_VERSION,
    .description = "Sandboxes of this machine's kernel by bubblewrap: no daemon, no image",
    .options = csb::bwrap::DeclaredOptions()};

}  // namespace

CSB_PLUGIN_BACKEND(csb::bwrap::BubblewrapBackend, kPlugin)
