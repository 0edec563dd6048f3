// SPDX-License-Identifier: Apache-2.0
//
// result_members.h: results that are the same for every provider, and what the era without
// initialize has in each result.
//
//   send(ResultLine(id, InitializeResult(provider, revision, true)));
//   WithResultMembers(R"({"tools":[]})", "complete", "tools/list", info);
//     // {"resultType":"complete","_meta":{…serverInfo…},"ttlMs":300000,"cacheScope":"public","tools":[]}
#pragma once

#include <string>
#include <string_view>

#include "plugins/mcp/provider.h"
#include "plugins/mcp/revision.h"

namespace csb::mcp {

std::string InitializeResult(const Provider& provider, const Revision& revision, bool listens);
std::string DiscoverResult(const Provider& provider);
// The data of "unsupported protocol version".
std::string VersionData(std::string_view requested);

// `object`: the JSON of an object.
std::string WithResultMembers(std::string_view object, std::string_view type, std::string_view method,
                              const ServerInfo& info);

}  // namespace csb::mcp
