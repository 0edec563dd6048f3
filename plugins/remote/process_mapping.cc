// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/operations.h"
#include "plugins/common/base64.h"
#include "plugins/remote/mapping.h"

namespace csb::remote {
namespace {

// All members but the handle, which is in the path.
std::string WithoutHandle(const json::Document& payload) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  for (const auto& member : payload.GetObject()) {
    const std::string_view name(member.name.GetString(), member.name.GetStringLength());
    if (name == "handle") continue;
    json::Key(w, name);
    member.value.Accept(w);
  }
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string Input(std::string_view bytes, bool eof) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "content", std::string_view(base64::Encode(bytes)));
  json::Member(w, "encoding", "base64");
  if (eof) json::Member(w, "eof", true);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

bool IsProcess(uint32_t op) { return op >= CSB_OP_PROCESS_START && op <= CSB_OP_PROCESS_REMOVE; }

std::string ProcessTarget(std::string_view user, std::string_view handle, std::string_view tail) {
  return UserTarget(user, "/processes/" + Segment(handle) + std::string(tail));
}

Mapped MapProcessInput(std::string_view user, std::string_view handle, std::string_view bytes, bool eof) {
  Mapped out;
  out.http.method = "POST";
  out.http.target = ProcessTarget(user, handle, "/input");
  out.http.body = Input(bytes, eof);
  return out;
}

Mapped MapFollow(std::string_view user, std::string_view handle, int64_t offset) {
  Mapped out;
  out.harmless = out.streamed = true;
  out.http.target = ProcessTarget(user, handle, "/output?encoding=base64&offset=" + std::to_string(offset));
  out.http.headers.emplace_back("Accept: text/event-stream");
  return out;
}

Result<Mapped> MapProcess(const Request& request, const Peer& peer) {
  if (!peer.processes)
    return Error{CSB_E_UNSUPPORTED, "the remote sandbox service keeps no programs in the background",
                 "`clara-sandbox explain` lists what that service offers", false};
  const auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  const std::string handle(json::GetString(*payload, "handle").value_or(""));
  Mapped out;
  const auto post = [&](std::string target) {
    out.http.method = "POST";
    out.http.target = std::move(target);
    out.http.body = WithoutHandle(*payload);
    return out;
  };
  switch (request.op) {
    case CSB_OP_PROCESS_START:
      return post(UserTarget(request.user, "/processes"));
    case CSB_OP_PROCESS_SIGNAL:
      return post(ProcessTarget(request.user, handle, "/signal"));
    case CSB_OP_PROCESS_WAIT:
      out.harmless = true;
      return post(ProcessTarget(request.user, handle, "/wait"));
    case CSB_OP_PROCESS_RESIZE:
      out.harmless = true;
      return post(ProcessTarget(request.user, handle, "/resize"));
    case CSB_OP_PROCESS_REMOVE:
      out.http.method = "DELETE";  // a second one finds nothing
      out.http.target = ProcessTarget(request.user, handle, "");
      return out;
    case CSB_OP_PROCESS_LIST:
      out.harmless = true;
      out.http.target = UserTarget(request.user, "/processes");
      return out;
    case CSB_OP_PROCESS_OUTPUT: {
      out.harmless = true;
      std::string tail = "/output?encoding=base64";
      for (const char* name : {"offset", "limit"})
        if (const auto number = json::GetInt(*payload, name))
          tail.append("&").append(name).append("=").append(std::to_string(*number));
      if (const json::Value* wait = json::Find(*payload, "wait"); wait != nullptr && wait->IsNumber())
        tail += "&wait=" + json::ToString(*wait);
      out.http.target = ProcessTarget(request.user, handle, tail);
      return out;
    }
    default:  // process_attach, process_input: made of several calls, or of what comes as input
      return Error{CSB_E_INTERNAL, "no call for " + std::string(NameOfOperation(request.op)), "", false};
  }
}

}  // namespace csb::remote
