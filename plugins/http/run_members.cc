// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/run_members.h"

#include "clara_sandbox/operation.h"

namespace csb::http {

void WriteRun(json::Writer& w, uint32_t op, const Execution& run, std::string_view result) {
  WriteExecution(w, run);
  json::Member(w, "cause", std::string_view(run.cause));
  json::Member(w, "signal", run.signal);
  json::Member(w, "stdout_dropped", run.stdout_dropped);
  json::Member(w, "stderr_dropped", run.stderr_dropped);
  json::Member(w, "message", std::string_view(run.message));
  json::Member(w, "hint", std::string_view(run.hint));
  // What only some runs have, as the backend told it.
  if (op == CSB_OP_EXECUTE || op == CSB_OP_SHELL || op == CSB_OP_EXEC) {
    const auto told = json::ParseObject(result);
    if (!told) return;
    for (const char* name : {"context", "handle", "running"}) {
      const json::Value* value = json::Find(*told, name);
      if (value == nullptr) continue;
      json::Key(w, name);
      value->Accept(w);
    }
    return;
  }
  if (op != CSB_OP_UNZIP) return;
  const auto doc = json::ParseObject(result);
  if (!doc) return;
  if (const auto destination = json::GetString(*doc, "destination"))
    json::Member(w, "destination", *destination);
  for (const char* name : {"files", "folders", "links", "bytes"})
    if (const auto count = json::GetInt(*doc, name)) json::Member(w, name, *count);
}

}  // namespace csb::http
