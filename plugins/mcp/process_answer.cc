// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/process_answer.h"

#include <cstdio>
#include <optional>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/model_output.h"
#include "plugins/mcp/text_result.h"
#include "plugins/mcp/tool_answer.h"

namespace csb::mcp {
namespace {

std::string Wrong() {
  return ErrorResult(
      {CSB_E_INTERNAL, "the backend's answer about a process is wrong", "list_processes may help", false});
}

struct Info {
  std::string handle, state, command, cause, message;
  std::optional<int64_t> exit_code, signal, bytes;
  std::optional<double> time;

  bool running() const { return state == "running"; }
};

std::optional<Info> Read(const json::Value& value) {
  const auto handle = json::GetString(value, "handle");
  const auto state = json::GetString(value, "state");
  if (!handle || (state != "running" && state != "exited")) return std::nullopt;
  const auto text = [&](std::string_view name) {
    return utf8::Clean(json::GetString(value, name).value_or(""));
  };
  return Info{std::string(*handle),
              std::string(*state),
              text("command"),
              text("cause"),
              text("message"),
              json::GetInt(value, "exit_code"),
              json::GetInt(value, "signal"),
              json::GetInt(value, "bytes"),
              json::GetNumber(value, "execution_time")};
}

std::string Seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", seconds);
  return text;
}

// "running for 3.0 s", "exited with code 1 after 3.0 s"
std::string How(const Info& info) {
  const std::string time = info.time ? Seconds(*info.time) : std::string();
  if (info.running()) return "running" + (time.empty() ? "" : " for " + time);
  std::string how = "exited";
  if (info.exit_code) how += " with code " + std::to_string(*info.exit_code);
  if (!info.message.empty()) how += " (" + info.message + ")";
  return time.empty() ? how : how + " after " + time;
}

void Write(json::Writer& w, const Info& info) {
  json::Member(w, "handle", std::string_view(info.handle));
  json::Member(w, "state", std::string_view(info.state));
  if (!info.command.empty()) json::Member(w, "command", std::string_view(info.command));
  if (info.exit_code) json::Member(w, "exit_code", *info.exit_code);
  if (info.signal) json::Member(w, "signal", *info.signal);
  if (!info.cause.empty()) json::Member(w, "cause", std::string_view(info.cause));
  if (!info.message.empty()) json::Member(w, "message", std::string_view(info.message));
  if (info.time) json::Member(w, "execution_time", *info.time);
  if (info.bytes) json::Member(w, "bytes", *info.bytes);
}

std::string OutputCall(const Info& info, uint64_t offset, std::string_view more = {}) {
  return "process_output(\"" + info.handle + "\", offset=" + std::to_string(offset) + std::string(more) + ")";
}

}  // namespace

std::string ProcessResult(std::string_view result, const Revision& revision) {
  auto doc = json::ParseObject(result);
  const auto info = doc ? Read(*doc) : std::nullopt;
  if (!info) return Wrong();
  std::string text = info->handle + ": " + How(*info);
  if (info->bytes)
    text += ", " + Grouped(static_cast<uint64_t>(std::max<int64_t>(0, *info->bytes))) + " bytes of output";
  AppendLine(text, info->running() ? "[" + OutputCall(*info, 0, ", wait=30") + " shows what it prints]"
                                   : "[" + OutputCall(*info, 0) + " shows what it printed]");
  return TextResult(text, false, revision, [&](json::Writer& w) { Write(w, *info); });
}

std::string ProcessesResult(std::string_view result, const Revision& revision) {
  auto doc = json::ParseObject(result);
  const json::Value* list = doc ? json::Find(*doc, "processes") : nullptr;
  if (list == nullptr || !list->IsArray()) return Wrong();
  std::string text;
  for (const auto& item : list->GetArray())
    if (const auto info = Read(item))
      AppendLine(text, info->handle + ": " + How(*info) + ": " + info->command);
  if (text.empty()) text = "(no processes)";
  return TextResult(text, false, revision, [&](json::Writer& w) {
    json::Key(w, "processes");
    w.StartArray();
    for (const auto& item : list->GetArray()) {
      const auto info = Read(item);
      if (!info) continue;
      w.StartObject();
      Write(w, *info);
      w.EndObject();
    }
    w.EndArray();
  });
}

std::string OutputResult(std::string_view bytes, std::string_view result, const Revision& revision) {
  auto doc = json::ParseObject(result);
  const auto info = doc ? Read(*doc) : std::nullopt;
  const auto offset = doc ? json::GetInt(*doc, "offset") : std::nullopt;
  auto next = doc ? json::GetInt(*doc, "next_offset") : std::nullopt;
  if (!info || !offset || !next) return Wrong();
  const int64_t all = info->bytes.value_or(*next);
  std::string shown;
  if (LooksBinary(bytes)) {
    shown = BinaryNote(bytes, bytes.size());
  } else {
    // A character that the end cuts is read with what follows.
    const size_t cut = info->running() || *next < all ? CutCharacter(bytes) : 0;
    if (cut < bytes.size()) {
      bytes.remove_suffix(cut);
      *next -= static_cast<int64_t>(cut);
    }
    shown = utf8::Clean(bytes);
  }
  std::string text = shown.empty() ? "(nothing from there on)" : shown;
  std::string state = "[" + How(*info);
  if (*next < all) state += "; " + Grouped(static_cast<uint64_t>(all - *next)) + " bytes more";
  if (*next < all || info->running())
    state += "; go on with " + OutputCall(*info, static_cast<uint64_t>(std::max<int64_t>(0, *next)),
                                          *next < all ? "" : ", wait=30");
  AppendLine(text, state + "]");
  return TextResult(text, false, revision, [&](json::Writer& w) {
    json::Member(w, "output", std::string_view(shown));
    json::Member(w, "offset", *offset);
    json::Member(w, "next_offset", *next);
    json::Member(w, "bytes", all);
    json::Member(w, "state", std::string_view(info->state));
    if (info->exit_code) json::Member(w, "exit_code", *info->exit_code);
  });
}

std::string InputResult(std::string_view result, const Revision& revision) {
  auto doc = json::ParseObject(result);
  const auto written = doc ? json::GetInt(*doc, "written") : std::nullopt;
  if (!written) return Wrong();
  return TextResult("Wrote " + std::to_string(*written) + " bytes", false, revision,
                    [&](json::Writer& w) { json::Member(w, "written", *written); });
}

std::string ResetResult(std::string_view result, const Revision& revision) {
  auto doc = json::ParseObject(result);
  const auto status = doc ? json::GetString(*doc, "status") : std::nullopt;
  if (!status) return Wrong();
  return TextResult(*status == "deleted"
                        ? "The interpreter has ended; the next execute_python begins anew."
                        : "There was no such interpreter; the next execute_python begins one.",
                    false, revision, [&](json::Writer& w) { json::Member(w, "status", *status); });
}

}  // namespace csb::mcp
