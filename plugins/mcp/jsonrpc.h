// SPDX-License-Identifier: Apache-2.0
//
// jsonrpc.h: JSON-RPC 2.0 as MCP uses it: messages out of text that nobody vouches for, and
// answers into text. Each answer is one line.
//
//   Incoming in = ParseText(line);
//   for (const Message& m : in.messages) …
//   send(ResultLine(m.id, "{}"));
//
// Ids are strings or integers and never null. An error about a message without a usable id is
// answered without one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"

namespace csb::mcp {

inline constexpr int kParseError = -32700;
inline constexpr int kInvalidRequest = -32600;
inline constexpr int kMethodNotFound = -32601;
inline constexpr int kInvalidParams = -32602;
inline constexpr int kInternalError = -32603;
inline constexpr int kServerBusy = -32000;
inline constexpr int kResourceNotFound = -32002;  // legacy revisions; later ones answer kInvalidParams
inline constexpr int kHeaderMismatch = -32020;    // revision 2026-07-28, as are the next two
inline constexpr int kMissingCapability = -32021;
inline constexpr int kUnsupportedVersion = -32022;

struct Message {
  enum class Kind { kRequest, kNotification, kResponse, kInvalid };
  Kind kind = Kind::kInvalid;
  std::string id;                       // as JSON text: 7 or "seven"; empty: none
  std::string method;                   // of a request or notification
  const json::Value* params = nullptr;  // an object inside Incoming::document, or null for none
  const json::Value* whole = nullptr;   // kResponse: the message itself, in there too
  int code = 0;                         // kInvalid: what to answer
  std::string error;
};

struct Incoming {
  json::Document document;
  bool batch = false;
  std::vector<Message> messages;  // at least one, kInvalid for text that is not JSON-RPC
};

inline constexpr size_t kMaxBatch = 100;

// `text`: one whole message, of any content. Depth is bounded by json::kMaxDepth, size by the caller.
Incoming ParseText(std::string_view text);

// The JSON text of an id or progress token: a string of at most 1,024 bytes or an integer; else empty.
std::string IdText(const json::Value* value);

std::string ResultLine(std::string_view id, std::string_view result_json);
// data_json may be empty. Without an id the member is left out.
std::string ErrorLine(std::string_view id, int code, std::string_view message,
                      std::string_view data_json = {});
std::string NotificationLine(std::string_view method, std::string_view params_json);

}  // namespace csb::mcp
