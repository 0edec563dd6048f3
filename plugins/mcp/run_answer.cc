// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/run_answer.h"

#include <algorithm>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/operation.h"
#include "plugins/common/base64.h"
#include "plugins/common/execution_collector.h"
#include "plugins/mcp/text_result.h"
#include "plugins/mcp/tool_answer.h"

namespace csb::mcp {
namespace {

constexpr double kWorthTelling = 1;  // seconds

// Of one shown thing the form a model reads best, when it is no image.
std::string TextOf(const json::Value& data) {
  for (const char* type : {"text/markdown", "text/plain", "text/latex"})
    if (const auto text = json::GetString(data, type)) return std::string(*text);
  if (const json::Value* value = json::Find(data, "application/json")) return json::ToString(*value);
  return {};
}

std::string Call(std::string_view tool, std::string_view handle, std::string_view more = {}) {
  return std::string(tool) + "(\"" + std::string(handle) + "\"" + std::string(more) + ")";
}

}  // namespace

void RunAnswer::Event(uint32_t event, std::string_view json) {
  results_.Event(event, json);
  if (event != CSB_EVENT_DROPPED) return;
  auto doc = json::ParseObject(json);
  const int64_t bytes = doc ? json::GetInt(*doc, "bytes").value_or(0) : 0;
  if (bytes > 0) output_.Dropped(static_cast<uint64_t>(bytes));
}

RunAnswer::Shown RunAnswer::WhatWasShown() const {
  Shown shown;
  ModelOutput text(max_output_);
  size_t images = 0, too_large = 0;
  for (const std::string& item : results_.items()) {
    auto doc = json::ParseObject(item);
    const json::Value* data = doc ? json::Find(*doc, "data") : nullptr;
    if (data == nullptr) continue;
    bool image = false;
    for (const char* type : {"image/png", "image/jpeg"}) {
      const auto base64 = json::GetString(*data, type);
      if (!base64 || image) continue;
      image = true;
      if (base64->size() > kMaxImages - images || !base64::Decode(*base64)) {
        ++too_large;
        continue;
      }
      images += base64->size();
      shown.images.push_back({type, std::string(*base64)});
    }
    if (image) continue;
    std::string line = TextOf(*data);
    if (line.empty()) continue;
    if (line.back() != '\n') line += '\n';
    text.Append(line);
  }
  shown.text = text.Text({});
  if (!shown.text.empty() && shown.text.back() == '\n') shown.text.pop_back();
  if (too_large + results_.left_out() > 0)
    AppendLine(shown.text,
               "[" + std::to_string(too_large + results_.left_out()) +
                   " results are left out: too many or too large for one answer; save them as files]");
  return shown;
}

std::string RunAnswer::Result(std::string_view result, const Revision& revision) const {
  auto run = ExecutionCollector({}).Finish(result);
  if (!run) return ErrorResult(run.error());
  auto doc = json::ParseObject(result);
  const std::string handle(doc ? json::GetString(*doc, "handle").value_or("") : "");
  const bool running = run->cause == "running";
  const Shown shown = WhatWasShown();

  std::string output = output_.bytes() == 0 ? std::string() : output_.Text(handle);
  if (!shown.text.empty()) AppendLine(output, shown.text);
  std::string message = utf8::Clean(run->message);
  if (!run->hint.empty()) message += (message.empty() ? "" : "; ") + utf8::Clean(run->hint);
  if (running)
    message = "still running; " +
              Call("process_output", handle, ", offset=" + std::to_string(output_.bytes()) + ", wait=30") +
              " shows more, " + Call("wait", handle) + " waits for the end, " +
              Call("signal", handle, ", \"INT\"") + " ends it";
  const json::Value* context = doc ? json::Find(*doc, "context") : nullptr;
  if (context != nullptr)
    if (const auto lost = json::GetString(*context, "lost"))
      message += (message.empty() ? "" : "; ") + ("the variables of before are gone: " + utf8::Clean(*lost));

  if (output_.truncated() && handle.empty())
    message += (message.empty() ? "" : "; ") +
               std::string("to see the rest write it to a file and use read_file with offset");

  std::string text = output;
  if (!message.empty()) AppendLine(text, "[" + message + "]");
  if (!run->success) AppendLine(text, "[exit code " + std::to_string(run->exit_code) + "]");
  // Never empty: some models' interfaces refuse an empty text.
  if (text.empty())
    text = shown.images.empty() ? "(no output)" : "[" + std::to_string(shown.images.size()) + " images]";

  const auto images = [&](json::Writer& w) {
    for (const Image& image : shown.images) {
      w.StartObject();
      json::Member(w, "type", "image");
      json::Member(w, "data", std::string_view(image.base64));
      json::Member(w, "mimeType", std::string_view(image.type));
      w.EndObject();
    }
  };
  // A client that shows its model the structured content alone would keep the images from it.
  const bool structured = revision.structured_content && shown.images.empty();
  return TextResult(
      text, !run->success, structured,
      [&](json::Writer& w) {
        json::Member(w, "success", run->success);
        json::Member(w, "output", std::string_view(output));
        json::Member(w, "exit_code", run->exit_code);
        // Some clients show their model this instead of the text: what says nothing costs it tokens.
        if (!message.empty()) json::Member(w, "message", std::string_view(message));
        if (run->execution_time >= kWorthTelling) json::Member(w, "execution_time", run->execution_time);
        if (run->timed_out()) json::Member(w, "timed_out", true);
        if (run->oom_killed()) json::Member(w, "oom_killed", true);
        if (running) json::Member(w, "running", true);
        if (!handle.empty()) json::Member(w, "handle", std::string_view(handle));
        if (output_.truncated()) json::Member(w, "truncated", true);
        if (output_.truncated() || running) json::Member(w, "bytes", output_.bytes());
      },
      images);
}

}  // namespace csb::mcp
