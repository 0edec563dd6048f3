// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/peer.h"

#include <algorithm>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/printable.h"

namespace csb::remote {
namespace {

constexpr size_t kMaxName = 80;

// A document, its components, and paths by their meaning: the name of the path's parameter is the service's
// own.
class Document {
 public:
  explicit Document(const json::Value& root) : root_(root) {}

  // The operation at `path`, where {user} stands for a parameter of any name; null if there is none.
  const json::Value* Find(std::string_view path, const char* method) const {
    const json::Value* paths = json::Find(root_, "paths");
    if (paths == nullptr || !paths->IsObject()) return nullptr;
    for (const auto& entry : paths->GetObject())
      if (Same({entry.name.GetString(), entry.name.GetStringLength()}, path))
        if (const json::Value* found = json::Find(entry.value, method)) return found;
    return nullptr;
  }

  // The request's JSON body has that member.
  bool Takes(const json::Value* operation, std::string_view member) const {
    const json::Value* schema = At(operation, {"requestBody", "content", "application/json", "schema"});
    return At(Resolve(schema), {"properties", member}) != nullptr;
  }
  bool TakesBytes(const json::Value* operation) const {
    return At(operation, {"requestBody", "content", "application/octet-stream"}) != nullptr;
  }
  bool Answers(const json::Value* operation, std::string_view type) const {
    return At(operation, {"responses", "200", "content", type}) != nullptr;
  }
  bool AnswerHas(const json::Value* operation, std::string_view member) const {
    const json::Value* schema =
        Resolve(At(operation, {"responses", "200", "content", "application/json", "schema"}));
    if (At(schema, {"properties", member}) != nullptr) return true;
    const json::Value* parts = At(schema, {"allOf"});
    if (parts == nullptr || !parts->IsArray()) return false;
    return std::any_of(parts->Begin(), parts->End(), [&](const json::Value& part) {
      return At(Resolve(&part), {"properties", member}) != nullptr;
    });
  }
  // A query member or header of the operation.
  bool HasParameter(const json::Value* operation, std::string_view name) const {
    const json::Value* list = At(operation, {"parameters"});
    if (list == nullptr || !list->IsArray()) return false;
    return std::any_of(list->Begin(), list->End(), [&](const json::Value& parameter) {
      const json::Value* resolved = Resolve(&parameter);
      return resolved != nullptr && json::GetString(*resolved, "name") == name;
    });
  }

 private:
  static bool Same(std::string_view theirs, std::string_view ours) {
    const size_t open = theirs.find('{'), close = theirs.find('}');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open)
      return theirs == ours;
    return std::string(theirs.substr(0, open)) + "{user}" + std::string(theirs.substr(close + 1)) == ours;
  }

  static const json::Value* At(const json::Value* value, std::initializer_list<std::string_view> path) {
    for (const std::string_view name : path) {
      if (value == nullptr) return nullptr;
      value = json::Find(*value, name);
    }
    return value;
  }

  // What "$ref": "#/components/schemas/X" names; one step, as generators write it.
  const json::Value* Resolve(const json::Value* value) const {
    if (value == nullptr) return nullptr;
    std::string_view name = json::GetString(*value, "$ref").value_or("");
    if (name.empty()) return value;
    if (!name.starts_with("#/")) return nullptr;
    name.remove_prefix(2);
    const json::Value* at = &root_;
    while (at != nullptr && !name.empty()) {
      const std::string_view part = name.substr(0, name.find('/'));
      name.remove_prefix(std::min(name.size(), part.size() + 1));
      at = json::Find(*at, part);
    }
    return at;
  }

  const json::Value& root_;
};

struct Ability {
  bool Peer::*has;
  const char* name;
  const char* without;  // what is done where it is missing
};

constexpr Ability kAbilities[] = {
    {&Peer::events, "live output", "output comes when the program has ended"},
    {&Peer::exact, "exact bytes of output", "output that is no UTF-8 arrives as U+FFFD"},
    {&Peer::input, "standard input", "runs with input are refused"},
    {&Peer::arguments, "arguments of programs", "runs with arguments are refused"},
    {&Peer::folder, "folders to start in", "runs elsewhere than in /workspace are refused"},
    {&Peer::environment, "environment variables", "runs with variables of their own are refused"},
    {&Peer::contexts, "contexts of Python", "each run of Python begins anew, and shows no images"},
    {&Peer::processes, "programs in the background",
     "they and terminals are refused, and no run goes on or keeps its output"},
    {&Peer::exec, "programs without a shell", "they are run by a quoted shell command"},
    {&Peer::raw_read, "raw downloads", "files are read whole, up to 32 MiB"},
    {&Peer::raw_write, "raw uploads", "files are written whole, up to 16 MiB"},
    {&Peer::mode, "modes of files", "writing with a mode is refused"},
    {&Peer::once, "requests that are done once", "a request whose connection broke is not repeated"},
    {&Peer::purge, "removal of files", "destroying with purge is refused"},
};

}  // namespace

std::vector<std::string> Peer::Offers() const {
  std::vector<std::string> out;
  for (const Ability& ability : kAbilities)
    if (this->*ability.has) out.emplace_back(ability.name);
  return out;
}

std::vector<std::string> Peer::Lacks() const {
  std::vector<std::string> out;
  for (const Ability& ability : kAbilities)
    if (!(this->*ability.has)) out.push_back(std::string(ability.name) + ": " + ability.without);
  return out;
}

Peer ReadPeer(std::string_view openapi) {
  Peer peer;
  const auto root = json::ParseObject(openapi);
  if (!root || json::Find(*root, "paths") == nullptr) return peer;
  peer.described = true;
  if (const json::Value* info = json::Find(*root, "info")) {
    peer.title = Printable(json::GetString(*info, "title").value_or(""), kMaxName);
    peer.version = Printable(json::GetString(*info, "version").value_or(""), kMaxName);
  }
  const Document document(*root);
  const auto* execute = document.Find("/sandbox/{user}/execute", "post");
  const auto* shell = document.Find("/sandbox/{user}/shell", "post");
  const auto* read = document.Find("/sandbox/{user}/file", "get");
  const auto* write = document.Find("/sandbox/{user}/file", "post");
  const auto* erase = document.Find("/sandbox/{user}/file", "delete");
  const auto* files = document.Find("/sandbox/{user}/files", "get");
  const auto* destroy = document.Find("/sandbox/{user}/destroy", "delete");
  const auto both = [&](const char* member) {
    return document.Takes(execute, member) && document.Takes(shell, member);
  };
  peer.events =
      document.Answers(execute, "text/event-stream") && document.Answers(shell, "text/event-stream");
  peer.exact = peer.events && both("encoding") && both("stdin_encoding");
  peer.input = both("stdin");
  peer.arguments = document.Takes(execute, "args");
  peer.folder = both("cwd");
  peer.environment = both("env");
  peer.bound = both("output");
  peer.contexts = document.Takes(execute, "context") && document.Takes(execute, "results");
  const auto* output = document.Find("/sandbox/{user}/processes/{handle}/output", "get");
  peer.processes = document.Find("/sandbox/{user}/processes", "post") != nullptr && both("keep") &&
                   both("yield_after") && document.Answers(output, "text/event-stream");
  peer.exec = document.Find("/sandbox/{user}/exec", "post") != nullptr;
  peer.raw_read = document.Answers(read, "application/octet-stream");
  peer.raw_write = document.TakesBytes(write);
  peer.mode = document.Takes(write, "mode");
  peer.recursive = document.HasParameter(erase, "recursive");
  peer.stat = document.Find("/sandbox/{user}/stat", "get") != nullptr;
  peer.entries = document.AnswerHas(files, "entries");
  peer.once = document.HasParameter(execute, "Idempotency-Key");
  peer.purge = document.HasParameter(destroy, "purge");
  return peer;
}

}  // namespace csb::remote
