// SPDX-License-Identifier: Apache-2.0
//
// routes.h: the one table of the REST API. It routes requests, says which members of a body or
// query reach the service, and is what /openapi.json is made of (openapi.h), so none of the three
// can disagree.
//
//   Match match = FindRoute("POST", {"sandbox", "alice", "shell"});
//   if (match.route) …            // match.user == "alice"
//   else if (!match.allow.empty()) Answer(405, "Allow: " + match.allow);
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace csb::http {

// How the service's answer becomes ours.
enum class Answer {
  kResult,         // the operation's result as it is
  kExecution,      // output collected, or streamed when the client asks for it
  kFileRead,       // JSON, or raw bytes with Range
  kFileWrite,      // JSON or raw bytes in, an execution out
  kFileDelete,     // an execution
  kFileList,       // an execution and the entries
  kHealth,         // the result, 503 when unhealthy
  kContext,        // one member of the result's list, by the path's name; 404 without
  kProcess,        // the result, asked for without waiting
  kProcessOutput,  // a document with what it printed, or streamed to its end
  kProcessInput,   // `content` goes to its stdin
  kTerminal,       // a WebSocket
  kText,           // stream DATA as text (metrics)
  kOpenApi,        // made here
  kDocs,           // made here
};

enum class Access {
  kOpen,      // no key
  kKey,       // any key that may act for the user of the path
  kDocument,  // a key, also as the password of HTTP Basic: static pages a browser opens
  kOperator,  // a key that is not bound to users
};

enum class In { kQuery, kBody, kPath };  // kPath: "{name}" of the route's path

struct Field {
  const char* name;
  In in;
  bool required;
  const char* schema;  // JSON Schema of the value
  const char* doc;
};

struct Route {
  const char* method;
  const char* path;  // "/sandbox/{user_id}/shell"
  const char* id;    // operationId
  uint32_t op;       // CSB_OP_*; 0: answered by the frontend itself
  Answer answer;
  Access access;
  const char* tag;
  const char* answer_schema;  // a name of schemas.h
  const char* summary;
  const char* description;
  std::span<const Field> fields;
};

std::span<const Route> Routes();

struct Match {
  const Route* route = nullptr;
  std::string user;   // decoded {user_id}; empty also where the path has none
  std::string allow;  // "GET, HEAD, OPTIONS" when the path exists but not with this method
};

// The decoded segment that stands for "{name}" of the route's path; the request has fitted it.
std::string_view PathParameter(const Route& route, const std::vector<std::string>& segments,
                               std::string_view name);

// HEAD finds the GET route.
Match FindRoute(std::string_view method, const std::vector<std::string>& segments);

}  // namespace csb::http
