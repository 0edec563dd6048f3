// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/plugin.h"

#include "plugins/docker/backend.h"

namespace {

const csb::PluginDescriptor kPlugin{
    .name = "docker",
    .version = CSB_VERSION,
    .description = "Sandboxes as containers of a Docker Engine, or of Podman's compatible socket",
    .options = csb::docker::DeclaredOptions()};

}  // namespace

CSB_PLUGIN_BACKEND(csb::docker::DockerBackend, kPlugin)
