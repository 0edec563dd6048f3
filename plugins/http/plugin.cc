// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/plugin.h"

#include "clara_sandbox/cpp/frontend.h"
#include "plugins/http/options.h"
#include "plugins/http/server.h"

namespace {

using csb::http::Server;

constexpr char kDescription[] = "REST API over HTTP and HTTPS";

}  // namespace

CSB_PLUGIN_FRONTEND(Server, (csb::PluginDescriptor{"http", CSB_VERSION, kDescription, csb::http::Options()}))
