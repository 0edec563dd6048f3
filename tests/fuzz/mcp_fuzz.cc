// SPDX-License-Identifier: Apache-2.0
//
// Lines of an MCP client, split as the stdio frontend splits them. Whatever comes, each message the
// session sends is one line of valid JSON. The service refuses every operation, which is allowed.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/service_client.h"
#include "plugins/mcp/sandbox_provider.h"
#include "plugins/mcp/session.h"

namespace {

csb_status Refuse(csb_service*, const csb_request* request, const csb_events*, void*, csb_op**,
                  csb_error* error) {
  if (!csb::json::ParseObject(csb::View(request->payload))) std::abort();
  return csb::Error{CSB_E_UNAVAILABLE, "none here", "", false}.Fill(error);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const csb_op_calls kCalls{sizeof(csb_op_calls), 0, nullptr, nullptr, nullptr, nullptr};
  static const csb_service_v1 kService{sizeof(csb_service_v1), 0, nullptr, &Refuse, &kCalls};
  csb::mcp::McpSession session(csb::mcp::MakeSandboxProvider(csb::ServiceClient(&kService), {}),
                               [](const csb::mcp::Outgoing& out) {
                                 if (out.text.find('\n') != std::string::npos || !csb::json::Parse(out.text))
                                   std::abort();
                               });
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    session.OnMessage(line);
  }
  session.OnTime();
  return 0;
}
