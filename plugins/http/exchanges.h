// SPDX-License-Identifier: Apache-2.0
//
// exchanges.h: the exchange for each kind of answer (routes.h, Answer). Each is one file.
#pragma once

#include <memory>

#include "plugins/http/app.h"
#include "plugins/http/exchange.h"
#include "plugins/http/incoming.h"
#include "plugins/http/mcp_incoming.h"

namespace csb::http {

// Results as documents: info, stop, destroy, health, metrics, file list and delete.
std::unique_ptr<Exchange> ResultExchange(App&, ThreadState&, Incoming, Responder&);
// A run answered by one document.
std::unique_ptr<Exchange> BufferedRunExchange(App&, ThreadState&, Incoming, Responder&);
// A run answered as it happens: server-sent events, or a line of JSON each.
std::unique_ptr<Exchange> StreamedRunExchange(App&, ThreadState&, Incoming, Responder&,
                                              bool server_sent_events);
// What a process printed, and input for it.
std::unique_ptr<Exchange> ProcessOutputExchange(App&, ThreadState&, Incoming, Responder&);
std::unique_ptr<Exchange> ProcessInputExchange(App&, ThreadState&, Incoming, Responder&);
// A terminal over a WebSocket.
std::unique_ptr<Exchange> TerminalExchange(App&, ThreadState&, Incoming, Responder&);
std::unique_ptr<Exchange> FileJsonExchange(App&, ThreadState&, Incoming, Responder&);
std::unique_ptr<Exchange> FileBytesExchange(App&, ThreadState&, Incoming, Responder&);
std::unique_ptr<Exchange> FileWriteJsonExchange(App&, ThreadState&, Incoming, Responder&);
std::unique_ptr<Exchange> FileUploadExchange(App&, ThreadState&, Incoming, Responder&);
// A message of an MCP client.
std::unique_ptr<Exchange> McpMessageExchange(App&, ThreadState&, McpIncoming, Responder&);
// An answer that is known already.
std::unique_ptr<Exchange> FixedExchange(Reply, Responder&);

}  // namespace csb::http
