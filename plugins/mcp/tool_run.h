// SPDX-License-Identifier: Apache-2.0
//
// tool_run.h: one tool call: its operation at the service, its output as progress, its answer, and
// its end when the client gives up.
//
//   auto request = MakeRequest(tool, arguments, options);
//   RunTool(service, tool, *std::move(request), revision, options, "mcp-7", pending);
//   // pending->Result(…) comes from a thread of the service, or before this has returned
#pragma once

#include <memory>
#include <string_view>

#include "clara_sandbox/cpp/service_client.h"
#include "plugins/mcp/provider.h"
#include "plugins/mcp/tool_answer.h"

namespace csb::mcp {

void RunTool(const ServiceClient& service, const Tool& tool, ToolRequest request, const Revision& revision,
             const ToolOptions& options, std::string_view request_id, std::shared_ptr<Pending> pending);

}  // namespace csb::mcp
