// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/agent_result.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "agent/protocol/frame.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/operation.h"

namespace csb {
namespace {

constexpr size_t kMaxMessage = 2048;
constexpr size_t kMaxEventJson = 64 << 10;
constexpr size_t kMaxResultJson = 1 << 20;  // pictures

Error Bad(std::string what) { return {CSB_E_BAD_REQUEST, std::move(what), "", false}; }

// Members that must be there, each with its check.
bool IsCount(const json::Value* v) { return v != nullptr && v->IsUint64() && v->GetUint64() <= INT64_MAX; }
bool IsText(const json::Value* v) { return v != nullptr && v->IsString(); }
bool IsIntIn(const json::Value* v, int64_t low, int64_t high) {
  return v != nullptr && v->IsInt64() && v->GetInt64() >= low && v->GetInt64() <= high;
}

bool PrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

bool IsTextUpTo(const json::Value* v, size_t most) { return IsText(v) && v->GetStringLength() <= most; }

// The interpreter that a run was in.
Status CheckContext(const json::Value& context) {
  if (!context.IsObject() || !IsTextUpTo(json::Find(context, "name"), 64) ||
      !IsCount(json::Find(context, "executions")))
    return Bad("context of the result is wrong");
  for (const char* name : {"new", "kept", "interrupted"}) {
    const json::Value* flag = json::Find(context, name);
    if (flag != nullptr && !flag->IsBool()) return Bad("context of the result is wrong");
  }
  const json::Value* lost = json::Find(context, "lost");
  if (lost != nullptr && !IsTextUpTo(lost, kMaxMessage)) return Bad("context of the result is wrong");
  return {};
}

Status CheckContexts(const json::Value& result) {
  const json::Value* contexts = json::Find(result, "contexts");
  if (contexts == nullptr || !contexts->IsArray()) return Bad("contexts of the result is wrong");
  for (const auto& context : contexts->GetArray()) {
    for (const char* name : {"name", "state", "created_at", "last_used"})
      if (!context.IsObject() || !IsTextUpTo(json::Find(context, name), 64))
        return Bad(std::string(name) + " of a context is wrong");
    for (const char* name : {"executions", "memory"})
      if (!IsCount(json::Find(context, name))) return Bad(std::string(name) + " of a context is wrong");
  }
  return {};
}

Status CheckProcess(const json::Value& process) {
  if (!process.IsObject()) return Bad("a process of the result is wrong");
  const json::Value* handle = json::Find(process, "handle");
  if (!IsTextUpTo(handle, 64) || !PrintableAscii({handle->GetString(), handle->GetStringLength()}))
    return Bad("handle of a process is wrong");
  const auto state = json::GetString(process, "state");
  if (state != "running" && state != "exited") return Bad("state of a process is wrong");
  for (const char* name : {"kind", "started_at"})
    if (!IsTextUpTo(json::Find(process, name), 64)) return Bad(std::string(name) + " of a process is wrong");
  if (!IsTextUpTo(json::Find(process, "command"), kMaxMessage)) return Bad("command of a process is wrong");
  for (const char* name : {"bytes", "first_offset"})
    if (!IsCount(json::Find(process, name))) return Bad(std::string(name) + " of a process is wrong");
  for (const char* name : {"offset", "next_offset"})
    if (json::Find(process, name) != nullptr && !IsCount(json::Find(process, name)))
      return Bad(std::string(name) + " of a process is wrong");
  if (json::Find(process, "exit_code") != nullptr && !IsIntIn(json::Find(process, "exit_code"), 0, 255))
    return Bad("exit_code of a process is wrong");
  for (const char* name : {"message", "hint", "cause", "ended_at"})
    if (json::Find(process, name) != nullptr && !IsTextUpTo(json::Find(process, name), kMaxMessage))
      return Bad(std::string(name) + " of a process is wrong");
  return {};
}

Status CheckProcesses(const json::Value& result) {
  const json::Value* processes = json::Find(result, "processes");
  if (processes == nullptr || !processes->IsArray()) return Bad("processes of the result is wrong");
  for (const auto& process : processes->GetArray())
    if (Status good = CheckProcess(process); !good) return good;
  return {};
}

Status CheckShown(const json::Value& shown) {
  const json::Value* data = json::Find(shown, "data");
  if (!IsTextUpTo(json::Find(shown, "kind"), 16) || data == nullptr || !data->IsObject())
    return Bad("a shown result is wrong");
  return {};
}

Status CheckProgramResult(const json::Value& result) {
  static constexpr std::array kCauses = {"exit", "signal", "deadline", "oom", "cancelled", "running"};
  if (!IsIntIn(json::Find(result, "exit_code"), 0, 255)) return Bad("exit_code of the result is wrong");
  const auto cause = json::GetString(result, "cause");
  if (!cause || std::find(kCauses.begin(), kCauses.end(), *cause) == kCauses.end())
    return Bad("cause of the result is wrong");
  if (!IsIntIn(json::Find(result, "signal"), 0, 64)) return Bad("signal of the result is wrong");
  const auto time = json::GetNumber(result, "execution_time");
  if (!time || !std::isfinite(*time) || *time < 0 || *time > 1e9)
    return Bad("execution_time of the result is wrong");
  for (const char* name : {"stdout_bytes", "stderr_bytes", "stdout_dropped", "stderr_dropped"})
    if (!IsCount(json::Find(result, name))) return Bad(std::string(name) + " of the result is wrong");
  for (const char* name : {"message", "hint"}) {
    const json::Value* text = json::Find(result, name);
    if (text != nullptr && (!text->IsString() || text->GetStringLength() > kMaxMessage))
      return Bad(std::string(name) + " of the result is wrong");
  }
  const json::Value* handle = json::Find(result, "handle");
  if (handle != nullptr && !IsTextUpTo(handle, 64)) return Bad("handle of the result is wrong");
  if (const json::Value* context = json::Find(result, "context"))
    if (Status good = CheckContext(*context); !good) return good;
  return {};
}

Status CheckReadMeta(const json::Value& meta) {
  if (!IsText(json::Find(meta, "path"))) return Bad("path of the file's description is wrong");
  for (const char* name : {"size", "offset", "length"})
    if (!IsCount(json::Find(meta, name)))
      return Bad(std::string(name) + " of the file's description is wrong");
  return {};
}

Status CheckEntry(const json::Value& entry) {
  static constexpr std::array kTypes = {"file", "dir", "link", "fifo", "socket", "char", "block"};
  if (!IsText(json::Find(entry, "name"))) return Bad("name of a folder's entry is wrong");
  const auto type = json::GetString(entry, "type");
  if (!type || std::find(kTypes.begin(), kTypes.end(), *type) == kTypes.end())
    return Bad("type of a folder's entry is wrong");
  if (!IsCount(json::Find(entry, "size"))) return Bad("size of a folder's entry is wrong");
  for (const char* name : {"mode", "mtime", "target"}) {
    const json::Value* text = json::Find(entry, name);
    if (text != nullptr && !text->IsString()) return Bad(std::string(name) + " of a folder's entry is wrong");
  }
  return {};
}

Status CheckResult(std::string_view op, const json::Value& result) {
  if (RunsProgram(op)) return CheckProgramResult(result);
  if (op == "process_list") return CheckProcesses(result);
  if (op == "process_start" || op == "process_wait" || op == "process_signal" || op == "process_attach" ||
      op == "process_output")
    return CheckProcess(result);
  if (op == "process_input" && !IsCount(json::Find(result, "written")))
    return Bad("written of the result is wrong");
  if (op == "process_remove" && !IsTextUpTo(json::Find(result, "status"), 16))
    return Bad("status of the result is wrong");
  if (op == "context_list") return CheckContexts(result);
  if (op == "context_delete" && !IsTextUpTo(json::Find(result, "status"), 16))
    return Bad("status of the result is wrong");
  if (op == "file_read") return CheckReadMeta(result);
  if (op == "file_stat") return CheckEntry(result);
  if (op == "file_write" || op == "file_delete" || op == "file_list")
    if (!IsText(json::Find(result, "path"))) return Bad("path of the result is wrong");
  if (op == "file_write" && !IsCount(json::Find(result, "size"))) return Bad("size of the result is wrong");
  if (op == "file_list") {
    if (!IsText(json::Find(result, "text"))) return Bad("text of the result is wrong");
    const json::Value* entries = json::Find(result, "entries");
    if (entries == nullptr || !entries->IsArray()) return Bad("entries of the result is wrong");
    for (const auto& entry : entries->GetArray())
      if (Status good = CheckEntry(entry); !good) return good;
  }
  return {};
}

// Codes an agent may end an operation with; the rest say things that only the host knows.
bool AgentMaySay(int64_t code) {
  switch (code) {
    case CSB_E_CANCELLED:
    case CSB_E_BAD_REQUEST:
    case CSB_E_INVALID:
    case CSB_E_FORBIDDEN:
    case CSB_E_NOT_FOUND:
    case CSB_E_CONFLICT:
    case CSB_E_TOO_LARGE:
    case CSB_E_NO_CAPACITY:
    case CSB_E_DEADLINE:
    case CSB_E_UNSUPPORTED:
    case CSB_E_IO:
    case CSB_E_INTERNAL:
    case CSB_E_NO_SPACE:
      return true;
    default:
      return false;
  }
}

std::string Bounded(std::string_view text) {
  std::string out(text.substr(0, kMaxMessage));
  if (out.size() < text.size()) out = utf8::Clean(out);  // the cut may be inside a character
  return out;
}

bool Hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == '-';
  });
}

}  // namespace

bool PrintsOutput(std::string_view op) {
  return RunsProgram(op) || op == "process_output" || op == "process_attach";
}

bool RunsProgram(std::string_view op) {
  return op == "shell" || op == "execute" || op == "exec" || op == "pip_install" || op == "pip_list" ||
         op == "unzip";
}

Result<AgentHello> ParseHello(std::string_view payload) {
  auto doc = json::ParseObject(payload);
  if (!doc) return Bad("HELLO is " + doc.error().message);
  const auto proto = json::GetInt(*doc, "proto");
  if (!proto) return Bad("HELLO names no protocol");
  if (*proto != protocol::kVersion)
    return Error{CSB_E_UNSUPPORTED,
                 "it speaks version " + std::to_string(*proto) + " of the protocol, this host version " +
                     std::to_string(protocol::kVersion),
                 "restart the sandbox, so that it gets the agent of this version", false};
  AgentHello hello;
  const auto agent = json::GetString(*doc, "agent");
  if (!agent || agent->size() > 64 || !PrintableAscii(*agent)) return Bad("agent of HELLO is wrong");
  hello.agent = *agent;
  const auto boot_id = json::GetString(*doc, "boot_id");
  if (!boot_id || boot_id->empty() || boot_id->size() > 64 || !Hex(*boot_id))
    return Bad("boot_id of HELLO is wrong");
  hello.boot_id = *boot_id;
  hello.uptime_ms = std::max<int64_t>(0, json::GetInt(*doc, "uptime_ms").value_or(0));
  hello.separate_uids = json::GetBool(*doc, "separate_uids").value_or(false);
  hello.running = std::max<int64_t>(0, json::GetInt(*doc, "running").value_or(0));
  return hello;
}

Result<AgentOutcome> ParseDone(std::string_view op, std::string_view payload) {
  auto doc = json::ParseObject(payload);
  if (!doc) return Bad("DONE is " + doc.error().message);
  const auto code = json::GetInt(*doc, "code");
  if (!code) return Bad("DONE has no code");
  AgentOutcome outcome;
  if (*code == CSB_OK) {
    const json::Value* result = json::Find(*doc, "result");
    if (result == nullptr || !result->IsObject()) return Bad("DONE has no result");
    if (Status good = CheckResult(op, *result); !good) return good.error();
    outcome.code = CSB_OK;
    outcome.result = json::ToString(*result);
    return outcome;
  }
  if (!AgentMaySay(*code))
    return Bad("DONE has the code " + std::to_string(*code) + ", which is not an agent's to give");
  outcome.code = static_cast<csb_status>(*code);
  outcome.retryable = json::GetBool(*doc, "retryable").value_or(false);
  outcome.message = Bounded(json::GetString(*doc, "message").value_or(""));
  outcome.hint = Bounded(json::GetString(*doc, "hint").value_or(""));
  if (outcome.message.empty()) return Bad("DONE has an error without a message");
  return outcome;
}

Result<AgentEvent> ParseEvent(uint32_t event, std::string_view payload) {
  if (event == CSB_EVENT_RESULT ? payload.size() > kMaxResultJson : payload.size() > kMaxEventJson)
    return Bad("an event has more than " + std::string(event == CSB_EVENT_RESULT ? "1 MiB" : "64 KiB"));
  auto doc = json::ParseObject(payload);
  if (!doc) return Bad("an event is " + doc.error().message);
  AgentEvent out;
  out.known = true;
  switch (event) {
    case CSB_EVENT_META:
      if (Status good = CheckReadMeta(*doc); !good) return good.error();
      out.length = static_cast<uint64_t>(*json::GetInt(*doc, "length"));
      break;
    case CSB_EVENT_DROPPED:
      if (!IsIntIn(json::Find(*doc, "stream"), CSB_STREAM_STDOUT, CSB_STREAM_DATA) ||
          !IsCount(json::Find(*doc, "bytes")))
        return Bad("the event of dropped bytes is wrong");
      break;
    case CSB_EVENT_RESULT:
      if (Status good = CheckShown(*doc); !good) return good.error();
      break;
    case CSB_EVENT_PROGRESS:
      if (!IsText(json::Find(*doc, "message"))) return Bad("the event of progress is wrong");
      break;
    default:
      out.known = false;
  }
  return out;
}

void AmendToOom(AgentOutcome& outcome, std::string_view limit, std::string_view hint) {
  if (outcome.code != CSB_OK) return;
  auto doc = json::ParseObject(outcome.result);
  if (!doc || !doc->HasMember("exit_code")) return;
  auto& allocator = doc->GetAllocator();
  const auto set = [&](const char* name, json::Value value) {
    if (doc->HasMember(name))
      (*doc)[name] = std::move(value);
    else
      doc->AddMember(json::Value(name, allocator), std::move(value), allocator);
  };
  const auto text = [&](std::string_view s) {
    return json::Value(s.data(), static_cast<rapidjson::SizeType>(s.size()), allocator);
  };
  std::string message = "OOM killed: the sandbox used all of its memory";
  if (!limit.empty()) message.append(" (").append(limit).append(")");
  set("cause", text("oom"));
  set("exit_code", json::Value(137));
  set("signal", json::Value(9));
  set("message", text(message));
  set("hint", text(hint));
  outcome.result = json::ToString(*doc);
}

}  // namespace csb
