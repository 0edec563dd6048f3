// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/tools.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "clara_sandbox/operation.h"

namespace csb::mcp {
namespace {

constexpr int64_t kMostRead = 1 << 20;  // in base64 or escaped, still well under what clients take

void WriteInputSchema(json::Writer& w, const Tool& tool) {
  w.StartObject();
  json::Member(w, "type", "object");
  json::Key(w, "properties");
  w.StartObject();
  for (const Argument& a : tool.arguments) {
    json::Key(w, a.name);
    w.StartObject();
    json::Member(w, "type", a.type);
    json::Member(w, "description", a.description);
    w.EndObject();
  }
  w.EndObject();
  json::Key(w, "required");
  w.StartArray();
  for (const Argument& a : tool.arguments)
    if (a.required) json::String(w, a.name);
  w.EndArray();
  w.EndObject();
}

void WriteTool(json::Writer& w, const Tool& tool, const Revision& revision) {
  w.StartObject();
  json::Member(w, "name", tool.name);
  if (revision.titles) json::Member(w, "title", tool.title);
  json::Member(w, "description", tool.description);
  json::Key(w, "inputSchema");
  WriteInputSchema(w, tool);
  const std::string_view output = OutputSchema(tool);
  if (revision.structured_content && !output.empty()) {
    json::Key(w, "outputSchema");
    w.RawValue(output.data(), output.size(), rapidjson::kObjectType);
  }
  if (revision.annotations) {
    json::Key(w, "annotations");
    w.StartObject();
    json::Member(w, "title", tool.title);
    json::Member(w, "readOnlyHint", tool.read_only);
    json::Member(w, "destructiveHint", tool.destructive);
    json::Member(w, "idempotentHint", tool.idempotent);
    json::Member(w, "openWorldHint", tool.open_world);
    w.EndObject();
  }
  w.EndObject();
}

// The argument by its name, else by the first other name that is there.
const json::Value* FindArgument(const json::Value* arguments, const Argument& argument) {
  if (arguments == nullptr) return nullptr;
  if (const json::Value* v = json::Find(*arguments, argument.name)) return v;
  for (std::string_view rest = argument.aliases; !rest.empty();) {
    const std::string_view alias = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), alias.size() + 1));
    if (const json::Value* v = json::Find(*arguments, alias)) return v;
  }
  return nullptr;
}

// An integer as JSON Schema has it: 1000.0 is one too, and some clients write all numbers like that.
std::optional<int64_t> Whole(const json::Value& v) {
  if (v.IsInt64()) return v.GetInt64();
  constexpr double kExact = 9007199254740992;  // 2^53
  if (!v.IsDouble() || std::abs(v.GetDouble()) > kExact || std::trunc(v.GetDouble()) != v.GetDouble())
    return std::nullopt;
  return static_cast<int64_t>(v.GetDouble());
}

Error Bad(std::string_view argument, std::string_view what) {
  return {CSB_E_INVALID, std::string(argument) + ": " + std::string(what), "", false};
}

}  // namespace

const Tool* FindTool(std::string_view name) {
  for (const Tool& tool : Tools())
    if (tool.name == name) return &tool;
  return nullptr;
}

std::string ToolList(const Revision& revision) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "tools");
  w.StartArray();
  for (const Tool& tool : Tools()) WriteTool(w, tool, revision);
  w.EndArray();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

Result<ToolRequest> MakeRequest(const Tool& tool, const json::Value* arguments, const ToolOptions& options) {
  ToolRequest request{.user = options.user};
  std::string context = "default";
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  for (const Argument& a : tool.arguments) {
    const json::Value* v = FindArgument(arguments, a);
    if (v == nullptr) {
      if (a.required) return Bad(a.name, "is required");
      continue;
    }
    // Which string or number is good is the service's to say, for every frontend alike.
    if (a.type == "string" && !v->IsString()) return Bad(a.name, "a string is expected");
    if (a.type == "number" && !v->IsNumber()) return Bad(a.name, "a number is expected");
    if (a.type == "boolean" && !v->IsBool()) return Bad(a.name, "true or false is expected");
    const auto whole = a.type == "integer" ? Whole(*v) : std::nullopt;
    if (a.type == "integer" && !whole) return Bad(a.name, "an integer is expected");
    if (a.name == "user_id") {
      request.user.assign(v->GetString(), v->GetStringLength());
    } else if (a.name == "content" || a.name == "text") {
      request.content.assign(v->GetString(), v->GetStringLength());
    } else if (a.name == "limit" && whole) {
      json::Member(w, a.name, std::min<int64_t>(*whole, kMostRead));
    } else if (whole) {
      json::Member(w, a.name, *whole);
    } else if (a.name == "context") {
      context.assign(v->GetString(), v->GetStringLength());
    } else {
      json::Key(w, a.name);
      v->Accept(w);
    }
  }
  if (options.only && request.user != options.user)
    return Error{CSB_E_FORBIDDEN, "user_id: this server serves " + options.user + " only",
                 "leave user_id out", false};
  if (tool.op == CSB_OP_EXECUTE) json::Member(w, "context", std::string_view(context));
  if (tool.op == CSB_OP_CONTEXT_DELETE) json::Member(w, "name", std::string_view(context));
  if (tool.op == CSB_OP_EXECUTE || tool.op == CSB_OP_SHELL) {
    json::Member(w, "keep", true);
    if (options.yield_after > 0) json::Member(w, "yield_after", options.yield_after);
  }
  if (tool.answer == Answer::kOutput && (arguments == nullptr || json::Find(*arguments, "limit") == nullptr))
    json::Member(w, "limit", static_cast<uint64_t>(options.max_output));
  if (tool.answer == Answer::kRun) {
    // Of each stream as much as the answer holds of both, so that what is left out lies behind its first
    // half.
    json::Key(w, "output");
    w.StartObject();
    json::Member(w, "head", static_cast<uint64_t>(options.max_output));
    json::Member(w, "tail", static_cast<uint64_t>(options.max_output));
    w.EndObject();
  }
  w.EndObject();
  request.payload.assign(buffer.GetString(), buffer.GetSize());
  return request;
}

}  // namespace csb::mcp
