// SPDX-License-Identifier: Apache-2.0
//
// Calls with one small answer: a sandbox's life, and what is told of files.
#include "clara_sandbox/cpp/json.h"
#include "plugins/remote/answer.h"
#include "plugins/remote/operations.h"
#include "plugins/remote/remote_operation.h"

namespace csb::remote {
namespace {

std::string PathOf(const Request& request) {
  const auto payload = json::ParseObject(request.payload);
  return payload ? std::string(json::GetString(*payload, "path").value_or("/workspace")) : "";
}

std::string Word(std::string_view status, std::optional<bool> preserved) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "status", status);
  if (preserved) json::Member(w, "files_preserved", *preserved);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

// {"status": "stopped"}, of a service that may say it in other words.
Result<std::string> EndOf(const Request& request, const HttpResponse& answer, const std::string& where) {
  const bool destroy = request.op == CSB_OP_DESTROY;
  const auto payload = json::ParseObject(request.payload);
  const bool purge = payload && json::GetBool(*payload, "purge").value_or(false);
  if (answer.status == 404 && !NoSuchCall(answer))
    return Word("not_found", destroy ? std::optional<bool>(!purge) : std::nullopt);
  if (NoSuchCall(answer))
    return HasNoSuchCall(answer, where, destroy ? "DELETE /sandbox/…/destroy" : "POST /sandbox/…/stop");
  if (answer.status != 200) return ErrorOf(answer, where);
  const auto document = ObjectOf(answer, where);
  if (!document) return document.error();
  const std::string said(json::GetString(*document, "status").value_or(""));
  if (said.empty())
    return Error{CSB_E_UNAVAILABLE, "the sandbox service at " + where + " answered no status",
                 "it may be of a version that speaks another interface", false};
  if (!destroy) return Word(said == "not_found" || said == "in_use" ? said : "stopped", std::nullopt);
  return Word(said == "not_found" ? said : "deleted",
              json::GetBool(*document, "files_preserved").value_or(!purge));
}

Result<std::string> ResultOf(const Request& request, const HttpResponse& answer, const std::string& where) {
  if (request.op == CSB_OP_STOP || request.op == CSB_OP_DESTROY) return EndOf(request, answer, where);
  if ((request.op == CSB_OP_CREATE || request.op == CSB_OP_RESTART) && NoSuchCall(answer))
    return HasNoSuchCall(answer, where,
                         request.op == CSB_OP_CREATE ? "POST /sandbox/…/create" : "POST /sandbox/…/restart");
  if (answer.status != 200) return ErrorOf(answer, where);
  switch (request.op) {
    case CSB_OP_CONTEXT_LIST:
    case CSB_OP_CONTEXT_DELETE: {
      const auto document = ObjectOf(answer, where);
      if (!document) return document.error();
      return json::ToString(*document);
    }
    case CSB_OP_PROCESS_START:
    case CSB_OP_PROCESS_SIGNAL:
    case CSB_OP_PROCESS_WAIT: {
      auto program = ProgramOf(answer, where);
      if (!program) return program.error();
      return std::move(program->result);
    }
    case CSB_OP_PROCESS_LIST:
      return ObjectWith(answer, where, "processes", rapidjson::kArrayType);
    case CSB_OP_PROCESS_REMOVE:
      return ObjectWith(answer, where, "status", rapidjson::kStringType);
    case CSB_OP_PROCESS_RESIZE:
      return std::string("{}");
    case CSB_OP_FILE_LIST:
      return ListOf(answer, where, PathOf(request));
    case CSB_OP_FILE_STAT: {
      const auto document = ObjectOf(answer, where);
      if (!document) return document.error();
      if (json::GetString(*document, "type")) return answer.body;
      return EntryOf(answer, where, PathOf(request));
    }
    case CSB_OP_FILE_DELETE: {
      bool success = false;
      const auto document = DoneOf(answer, where, &success);
      if (!document) return document.error();
      if (!success)  // a service that deletes by `rm`
        return NotFound(PathOf(request));
      json::Buffer buffer;
      json::Writer w(buffer);
      w.StartObject();
      json::Member(w, "path", json::GetString(*document, "path").value_or(PathOf(request)));
      w.EndObject();
      return std::string(buffer.GetString(), buffer.GetSize());
    }
    default:
      return InfoOf(answer, where, request.user);
  }
}

class CallOperation : public RemoteOperation {
 public:
  CallOperation(const RequestView& request, EventSink sink)
      : RemoteOperation(request, std::move(sink),
                        "the remote sandbox service gave no answer within the time for it",
                        "see whether it hangs, or is slow: sandbox.create_timeout is the time for a create") {
  }

  void Start(std::shared_ptr<Links> links, const RequestView& view) {
    Begin<CallOperation>(std::move(links), view);
    caller_->Start();
  }
  Result<Mapped> Build(const Peer& peer) const { return Map(request_, peer, std::nullopt); }
  bool used() const { return false; }
  void OnDone(const Result<HttpResponse>& answer, Link* link) {
    auto result = answer ? ResultOf(request_, *answer, link->where()) : Result<std::string>(answer.error());
    result ? sink_.Done(*result) : sink_.Fail(result.error());
  }
};

}  // namespace

std::shared_ptr<Operation> StartCall(std::shared_ptr<Links> links, const RequestView& request,
                                     EventSink sink) {
  // Whether another program uses the sandbox only the service knows, and it ends idle ones by itself.
  const auto payload = json::ParseObject(request.payload);
  if (request.op == CSB_OP_STOP && payload && json::GetBool(*payload, "if_unused").value_or(false)) {
    sink.Done(R"({"status":"in_use"})");
    return nullptr;
  }
  auto operation = std::make_shared<CallOperation>(request, std::move(sink));
  operation->Start(std::move(links), request);
  return operation;
}

}  // namespace csb::remote
