// SPDX-License-Identifier: Apache-2.0
//
// testing.h: for tests of this folder: the two kinds of service there are, by their descriptions, and answers
// as they send them.
//
//   Peer plain = ReadPeer(kPlainDocument);
//   auto run = RunOf(Json(R"({"exit_code":0})"), "here");
#pragma once

#include <string>
#include <string_view>

#include "plugins/common/http_client.h"
#include "plugins/remote/peer.h"

namespace csb::remote {

// What FastAPI generates for a service that has the plain calls and no more.
inline constexpr std::string_view kPlainDocument = R"j({
  "openapi": "3.1.0",
  "info": {"title": "Clara Code Sandbox", "version": "1.0.0"},
  "paths": {
    "/health": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {}}}}}}},
    "/sandbox/{user_id}/create": {"post": {
      "parameters": [{"name": "user_id", "in": "path", "required": true, "schema": {"type": "string"}}],
      "requestBody": {"content": {"application/json": {"schema": {
        "anyOf": [{"$ref": "#/components/schemas/CreateRequest"}, {"type": "null"}], "title": "Request"}}}},
      "responses": {"200": {"content": {"application/json": {"schema": {}}}}}}},
    "/sandbox/{user_id}/execute": {"post": {
      "parameters": [{"name": "user_id", "in": "path", "required": true, "schema": {"type": "string"}}],
      "requestBody": {"required": true, "content": {"application/json": {"schema":
        {"$ref": "#/components/schemas/ExecuteRequest"}}}},
      "responses": {
        "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ExecutionResponse"}}}},
        "422": {"content": {"application/json": {"schema": {}}}}}}},
    "/sandbox/{user_id}/shell": {"post": {
      "requestBody": {"required": true, "content": {"application/json": {"schema":
        {"$ref": "#/components/schemas/ShellRequest"}}}},
      "responses": {"200": {"content": {"application/json": {"schema":
        {"$ref": "#/components/schemas/ExecutionResponse"}}}}}}},
    "/sandbox/{user_id}/file": {
      "get": {"parameters": [{"name": "path", "in": "query"}],
              "responses": {"200": {"content": {"application/json": {"schema": {}}}}}},
      "post": {"requestBody": {"content": {"application/json": {"schema":
                 {"$ref": "#/components/schemas/FileWrite"}}}},
               "responses": {"200": {"content": {"application/json": {"schema": {}}}}}},
      "delete": {"parameters": [{"name": "path", "in": "query"}], "responses": {"200": {}}}},
    "/sandbox/{user_id}/files": {"get": {"responses": {"200": {"content": {"application/json": {"schema":
      {"$ref": "#/components/schemas/ExecutionResponse"}}}}}}},
    "/sandbox/{user_id}/destroy": {"delete": {"responses": {"200": {}}}}
  },
  "components": {"schemas": {
    "CreateRequest": {"type": "object", "properties": {"memory_limit": {"type": "string"}}},
    "ExecuteRequest": {"type": "object", "required": ["code"], "title": "ExecuteRequest", "properties": {
      "code": {"type": "string"}, "timeout": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
      "description": {"anyOf": [{"type": "string"}, {"type": "null"}]}}},
    "ShellRequest": {"type": "object", "properties": {"command": {"type": "string"}, "timeout": {"type": "integer"}}},
    "FileWrite": {"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}},
    "ExecutionResponse": {"type": "object", "properties": {"success": {"type": "boolean"},
      "output": {"type": "string"}, "error": {"anyOf": [{"type": "string"}, {"type": "null"}]},
      "exit_code": {"type": "integer"}, "execution_time": {"type": "number"}}}
  }}
})j";

// Of our own service's description, what says that all is there.
inline constexpr std::string_view kFullDocument = R"j({
  "openapi": "3.1.0",
  "info": {"title": "Clara Sandbox", "version": "9.9"},
  "paths": {
    "/sandbox/{user_id}/execute": {"post": {
      "parameters": [{"$ref": "#/components/parameters/user_id"}, {"$ref": "#/components/parameters/key"}],
      "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Execute"}}}},
      "responses": {"200": {"content": {"application/json": {}, "text/event-stream": {}}}}}},
    "/sandbox/{user_id}/shell": {"post": {
      "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Execute"}}}},
      "responses": {"200": {"content": {"application/json": {}, "text/event-stream": {}}}}}},
    "/sandbox/{user_id}/exec": {"post": {}},
    "/sandbox/{user_id}/processes": {"get": {}, "post": {}},
    "/sandbox/{user_id}/processes/{handle}/output": {"get": {
      "responses": {"200": {"content": {"application/json": {}, "text/event-stream": {}}}}}},
    "/sandbox/{user_id}/file": {
      "get": {"responses": {"200": {"content": {"application/json": {}, "application/octet-stream": {}}}}},
      "post": {"requestBody": {"content": {"application/octet-stream": {},
        "application/json": {"schema": {"properties": {"mode": {}}}}}}},
      "delete": {"parameters": [{"name": "recursive", "in": "query"}]}},
    "/sandbox/{user_id}/files": {"get": {"responses": {"200": {"content": {"application/json": {"schema":
      {"allOf": [{"type": "object"}, {"$ref": "#/components/schemas/Listing"}]}}}}}}},
    "/sandbox/{user_id}/stat": {"get": {}},
    "/sandbox/{user_id}/destroy": {"delete": {"parameters": [{"name": "purge", "in": "query"}]}}
  },
  "components": {
    "parameters": {"user_id": {"name": "user_id", "in": "path"}, "key": {"name": "Idempotency-Key", "in": "header"}},
    "schemas": {
      "Execute": {"properties": {"code": {}, "command": {}, "stdin": {}, "stdin_encoding": {}, "encoding": {},
        "args": {}, "cwd": {}, "env": {}, "output": {}, "timeout": {}, "context": {}, "results": {},
        "keep": {}, "yield_after": {}}},
      "Listing": {"properties": {"entries": {"type": "array"}}}}
  }
})j";

inline HttpResponse Answered(int status, std::string_view body,
                             std::string_view type = "application/json; charset=utf-8") {
  return {.status = status, .content_type = std::string(type), .etag = "", .body = std::string(body)};
}

}  // namespace csb::remote
