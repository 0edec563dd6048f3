// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/result_members.h"

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"

namespace csb::mcp {
namespace {

std::string Text(const json::Buffer& buffer) { return {buffer.GetString(), buffer.GetSize()}; }

void WriteServerInfo(json::Writer& w, const ServerInfo& info, bool title) {
  w.StartObject();
  json::Member(w, "name", std::string_view(info.name));
  if (title) json::Member(w, "title", std::string_view(info.title));
  json::Member(w, "version", std::string_view(info.version));
  w.EndObject();
}

void WriteCapabilities(json::Writer& w, const Provider& provider, const Revision& revision, bool listens) {
  json::Key(w, "capabilities");
  w.StartObject();
  provider.WriteCapabilities(w, revision, listens);
  w.EndObject();
}

// What is offered changes with the program only; a user's files change at any time.
void WriteCacheHints(json::Writer& w, std::string_view method) {
  const bool fixed = method == "server/discover" || method == "tools/list" || method == "prompts/list" ||
                     method == "resources/templates/list";
  if (!fixed && method != "resources/list" && method != "resources/read") return;
  json::Member(w, "ttlMs", fixed ? 300'000 : 0);
  json::Member(w, "cacheScope", fixed ? "public" : "private");
}

}  // namespace

std::string InitializeResult(const Provider& provider, const Revision& revision, bool listens) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "protocolVersion", revision.name);
  WriteCapabilities(w, provider, revision, listens);
  json::Key(w, "serverInfo");
  WriteServerInfo(w, provider.info(), revision.titles);
  json::Member(w, "instructions", std::string_view(provider.info().instructions));
  w.EndObject();
  return Text(buffer);
}

std::string DiscoverResult(const Provider& provider) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "supportedVersions");
  w.StartArray();
  json::String(w, kModern.name);
  w.EndArray();
  WriteCapabilities(w, provider, kModern, true);
  json::Member(w, "instructions", std::string_view(provider.info().instructions));
  w.EndObject();
  return WithResultMembers(Text(buffer), "complete", "server/discover", provider.info());
}

std::string VersionData(std::string_view requested) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "supported");
  w.StartArray();
  json::String(w, kModern.name);
  w.EndArray();
  json::Member(w, "requested", std::string_view(utf8::Clean(requested.substr(0, 64))));
  w.EndObject();
  return Text(buffer);
}

std::string WithResultMembers(std::string_view object, std::string_view type, std::string_view method,
                              const ServerInfo& info) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "resultType", type);
  json::Key(w, "_meta");
  w.StartObject();
  json::Key(w, kMetaServerInfo);
  WriteServerInfo(w, info, true);
  w.EndObject();
  if (type == "complete") WriteCacheHints(w, method);
  w.EndObject();
  std::string result = Text(buffer);
  if (object.size() <= 2) return result;  // {}
  result.back() = ',';
  return result.append(object.substr(1));
}

}  // namespace csb::mcp
