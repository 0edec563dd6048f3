// SPDX-License-Identifier: Apache-2.0
//
// resources.h: the users' files as MCP resources. sandbox:///workspace/a.txt is a file of the user
// the server means by default, sandbox://USER/workspace/a.txt one of another user.
//
//   ListResources(service, options, "mcp-7", request, pending);   // a page of files below /workspace
//   ReadResource(service, options, "mcp-8", request, pending);    // text, or base64
//   pending->Result(ResourceTemplates());
//
// A page goes on where the cursor of the one before ended, by path and name: files that come and go
// meanwhile do not shift it, and nothing is kept between two pages.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/service_client.h"
#include "plugins/mcp/provider.h"
#include "plugins/mcp/tools.h"

namespace csb::mcp {

inline constexpr size_t kMaxResource = 4 << 20;  // bytes of a file that is read as a whole
inline constexpr size_t kResourcePage = 100;     // files

struct ResourceName {
  std::string user;  // empty: the default one
  std::string path;  // absolute
};
std::optional<ResourceName> ParseResourceUri(std::string_view uri);
std::string ResourceUri(std::string_view user, std::string_view path);

// By the end of its name, else text/plain for text and application/octet-stream for bytes.
std::string_view MediaType(std::string_view path, bool text);

// The file that a client names, if it may see it; without one the request is answered.
std::optional<ResourceName> FindResource(const ToolOptions& options, const ProviderRequest& request,
                                         std::string_view uri, Pending& pending);

std::string ResourceTemplates();
void ListResources(const ServiceClient& service, const ToolOptions& options, std::string request_id,
                   const ProviderRequest& request, std::shared_ptr<Pending> pending);
void ReadResource(const ServiceClient& service, const ToolOptions& options, std::string request_id,
                  const ProviderRequest& request, std::shared_ptr<Pending> pending);

}  // namespace csb::mcp
