// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/openapi.h"

#include <initializer_list>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "plugins/http/media.h"
#include "plugins/http/routes.h"
#include "plugins/http/schemas.h"

namespace csb::http {
namespace {

using json::Writer;

void Raw(Writer& w, std::string_view text) { w.RawValue(text.data(), text.size(), rapidjson::kObjectType); }
void Open(Writer& w, std::string_view key) {
  json::Key(w, key);
  w.StartObject();
}
std::string Reference(std::string_view schema) {
  return "{\"$ref\":\"#/components/schemas/" + std::string(schema) + "\"}";
}
void Content(Writer& w, std::initializer_list<std::pair<std::string_view, std::string>> types) {
  Open(w, "content");
  for (const auto& [type, schema] : types) {
    Open(w, type);
    json::Key(w, "schema");
    Raw(w, schema);
    w.EndObject();
  }
  w.EndObject();
}

constexpr char kTextSchema[] = R"({"type":"string"})";
constexpr char kAnyObject[] = R"({"type":"object"})";

void Parameter(Writer& w, const char* name, const char* in, bool required, const char* schema,
               const char* doc) {
  w.StartObject();
  json::Member(w, "name", name);
  json::Member(w, "in", in);
  json::Member(w, "required", required);
  json::Member(w, "description", doc);
  json::Key(w, "schema");
  Raw(w, schema);
  w.EndObject();
}

void Parameters(Writer& w, const Route& route) {
  json::Key(w, "parameters");
  w.StartArray();
  if (std::string_view(route.path).find("{user_id}") != std::string_view::npos)
    Parameter(w, "user_id", "path", true, R"({"type":"string","minLength":1,"maxLength":256})",
              "Whose sandbox: any UTF-8 without control characters; percent-decoded once.");
  for (const Field& field : route.fields)
    if (field.in == In::kPath) Parameter(w, field.name, "path", true, field.schema, field.doc);
  for (const Field& field : route.fields)
    if (field.in == In::kQuery) Parameter(w, field.name, "query", field.required, field.schema, field.doc);
  if (route.answer == Answer::kFileWrite)
    Parameter(w, "path", "query", false, kTextSchema, "With raw bytes as the body: the file to write.");
  if (std::string_view(route.method) == "POST")
    Parameter(
        w, "Idempotency-Key", "header", false, R"({"type":"string","minLength":1,"maxLength":128})",
        "A repetition with the same key, target and body gets the first one's answer and runs nothing.");
  if (route.answer == Answer::kFileRead)
    Parameter(w, "Range", "header", false, kTextSchema,
              "With raw bytes: one range, like `bytes=0-99` or `bytes=-100`.");
  w.EndArray();
}

std::string BodySchema(const Route& route) {
  json::Buffer buffer;
  Writer w(buffer);
  w.StartObject();
  json::Member(w, "type", "object");
  Open(w, "properties");
  for (const Field& field : route.fields) {
    if (field.in != In::kBody) continue;
    // The field's own schema, with its description put in front.
    json::Buffer inner;
    Writer text(inner);
    json::String(text, field.doc);
    json::Key(w, field.name);
    Raw(w, "{\"description\":" + std::string(inner.GetString(), inner.GetSize()) + "," + (field.schema + 1));
  }
  w.EndObject();
  bool any = false;
  for (const Field& field : route.fields) any = any || (field.in == In::kBody && field.required);
  if (any) {
    json::Key(w, "required");
    w.StartArray();
    for (const Field& field : route.fields)
      if (field.in == In::kBody && field.required) json::String(w, field.name);
    w.EndArray();
  }
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

void Body(Writer& w, const Route& route) {
  bool any = false, required = false;
  for (const Field& field : route.fields) {
    any = any || field.in == In::kBody;
    required = required || (field.in == In::kBody && field.required);
  }
  if (!any) return;
  Open(w, "requestBody");
  json::Member(w, "required", required);
  if (route.answer == Answer::kFileWrite)
    Content(w, {{kJson, BodySchema(route)}, {kBytes, "{}"}});
  else
    Content(w, {{kJson, BodySchema(route)}});
  w.EndObject();
}

void Answered(Writer& w, const Route& route) {
  switch (route.answer) {
    case Answer::kExecution:
      return Content(w, {{kJson, Reference(route.answer_schema)},
                         {kEventStream, kTextSchema},
                         {kNdjson, Reference("ExecutionEvent")}});
    case Answer::kProcessOutput:
      return Content(w, {{kJson, Reference(route.answer_schema)},
                         {kEventStream, kTextSchema},
                         {kNdjson, Reference("ExecutionEvent")}});
    case Answer::kTerminal:
      return;  // no HTTP from there on
    case Answer::kFileRead:
      return Content(w, {{kJson, Reference(route.answer_schema)}, {kBytes, "{}"}});
    case Answer::kText:
      return Content(w, {{"text/plain", kTextSchema}});
    case Answer::kDocs:
      return Content(w, {{"text/html", kTextSchema}});
    case Answer::kOpenApi:
      return Content(w, {{kJson, kAnyObject}});
    default:
      return Content(w, {{kJson, Reference(route.answer_schema)}});
  }
}

void ErrorAnswer(Writer& w, const char* status, const char* description) {
  Open(w, status);
  json::Member(w, "description", description);
  Content(w, {{kJson, Reference("Error")}});
  w.EndObject();
}

void Operation(Writer& w, const Route& route) {
  std::string key;
  for (const char* c = route.method; *c != 0; ++c) key += static_cast<char>(*c | 0x20);
  Open(w, key);
  json::Member(w, "operationId", route.id);
  json::Member(w, "summary", route.summary);
  if (*route.description != 0) json::Member(w, "description", route.description);
  json::Key(w, "tags");
  w.StartArray();
  json::String(w, route.tag);
  w.EndArray();
  Parameters(w, route);
  Body(w, route);
  Open(w, "responses");
  Open(w, route.answer == Answer::kTerminal ? "101" : "200");
  json::Member(w, "description",
               route.answer == Answer::kExecution
                   ? "It ran; whether it succeeded says `success`. With Accept: text/event-stream "
                     "or application/x-ndjson the events as they happen."
                   : "Done");
  Answered(w, route);
  w.EndObject();
  if (route.answer == Answer::kFileRead) {
    Open(w, "206");
    json::Member(w, "description", "The part that Range names");
    Content(w, {{kBytes, "{}"}});
    w.EndObject();
    ErrorAnswer(w, "416", "Range names nothing of the file");
  }
  ErrorAnswer(w, "400", "Not well-formed: the request, or its JSON");
  if (route.access == Access::kOpen) {
    Open(w, "503");
    json::Member(w, "description", "Unhealthy");
    Answered(w, route);
    w.EndObject();
  }
  if (route.access != Access::kOpen) ErrorAnswer(w, "401", "No or wrong key");
  if (route.access == Access::kOperator) ErrorAnswer(w, "403", "The key is bound to users");
  if (route.op != 0 && route.access == Access::kKey && std::string_view(route.tag) != "service") {
    ErrorAnswer(w, "403", "The key may not act for this user");
    ErrorAnswer(w, "404", "No such file or sandbox");
    ErrorAnswer(w, "409", "Conflict with what exists");
    ErrorAnswer(w, "413", "Too large");
    ErrorAnswer(w, "422", "A field is wrong; the message names it");
    ErrorAnswer(w, "429", "Too many requests of this user; see Retry-After");
    ErrorAnswer(w, "503", "No backend or no capacity now; see Retry-After");
    ErrorAnswer(w, "504", "Deadline");
    ErrorAnswer(w, "507", "The workspace is full");
  }
  w.EndObject();
  if (route.access == Access::kOpen) {
    json::Key(w, "security");
    w.StartArray();
    w.EndArray();
  }
  w.EndObject();
}

}  // namespace

std::string OpenApiDocument() {
  json::Buffer buffer;
  Writer w(buffer);
  w.StartObject();
  json::Member(w, "openapi", "3.1.0");
  Open(w, "info");
  json::Member(w, "title", "clara-sandbox");
  json::Member(w, "version", CSB_VERSION);
  json::Member(w, "description",
               "Runs code that nobody vouches for, each user in an own sandbox. A relative path is under "
               "`/workspace`; an absolute one means that path inside the sandbox.");
  Open(w, "license");
  json::Member(w, "name", "Apache-2.0");
  json::Member(w, "identifier", "Apache-2.0");
  w.EndObject();
  w.EndObject();
  json::Key(w, "servers");
  w.StartArray();
  Raw(w, R"({"url":"/","description":"Where this document came from"})");
  w.EndArray();
  Open(w, "paths");
  const auto routes = Routes();
  for (size_t i = 0; i < routes.size(); ++i) {
    const std::string_view path = routes[i].path;
    bool first = true;
    for (size_t j = 0; j < i; ++j) first = first && routes[j].path != path;
    if (!first) continue;
    Open(w, path);
    for (size_t j = i; j < routes.size(); ++j)
      if (routes[j].path == path) Operation(w, routes[j]);
    w.EndObject();
  }
  w.EndObject();
  Open(w, "components");
  json::Key(w, "schemas");
  // Through the parser, which drops the source's line breaks.
  Raw(w, json::ToString(*json::ParseObject(kSchemas)));
  json::Key(w, "securitySchemes");
  Raw(w,
      R"({"key":{"type":"apiKey","in":"header","name":"X-API-Key"},"bearer":{"type":"http","scheme":"bearer"}})");
  w.EndObject();
  json::Key(w, "security");
  w.StartArray();
  Raw(w, R"({"key":[]})");
  Raw(w, R"({"bearer":[]})");
  w.EndArray();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace csb::http
