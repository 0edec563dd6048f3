// SPDX-License-Identifier: Apache-2.0
//
// sandbox_provider.h: the service as an MCP server offers it: its tools (tools.h) and the users'
// files as resources (resources.h).
//
//   auto provider = MakeSandboxProvider(service, {.user = "clara"});
//   McpSession session(provider, send);
//
// Starting it makes no sandbox. Any number of sessions may share it.
#pragma once

#include <memory>

#include "clara_sandbox/cpp/service_client.h"
#include "plugins/mcp/provider.h"
#include "plugins/mcp/tools.h"

namespace csb::mcp {

std::shared_ptr<Provider> MakeSandboxProvider(ServiceClient service, ToolOptions options);

}  // namespace csb::mcp
