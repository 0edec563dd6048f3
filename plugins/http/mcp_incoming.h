// SPDX-License-Identifier: Apache-2.0
//
// mcp_incoming.h: what a request to /mcp says before its body is read: the header fields of MCP,
// which forms its client takes, and for whom its key may act.
//
//   auto in = MakeMcpIncoming(app, thread, head, key);   // key: null when none is configured
//   if (!in) return Fixed(McpRefusal(in.error()));
//   return McpMessageExchange(app, thread, *std::move(in), out);
#pragma once

#include <optional>
#include <string>

#include "plugins/http/app.h"
#include "plugins/http/reply.h"
#include "plugins/http/request_parser.h"
#include "plugins/mcp/session.h"

namespace csb::http {

struct McpIncoming {
  mcp::SessionOptions session;
  bool takes_json = true;
  bool takes_events = true;
};

// What `head` views must live only for the call.
Result<McpIncoming> MakeMcpIncoming(App& app, ThreadState& thread, const RequestHead& head, const Key* key);
Reply McpRefusal(const Error& error);

}  // namespace csb::http
