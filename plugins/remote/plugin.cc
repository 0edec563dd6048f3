// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/plugin.h"

#include "plugins/remote/backend.h"

namespace {

const csb::PluginDescriptor kPlugin{.name = "remote",
                                    .version = CSB_VERSION,
                                    .description = "Sandboxes of another sandbox service, over its REST API",
                                    .options = csb::remote::DeclaredOptions()};

}  // namespace

CSB_PLUGIN_BACKEND(csb::remote::RemoteBackend, kPlugin)
