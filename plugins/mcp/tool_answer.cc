// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/tool_answer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/operation.h"
#include "plugins/common/base64.h"
#include "plugins/mcp/process_answer.h"
#include "plugins/mcp/text_result.h"

namespace csb::mcp {
namespace {

constexpr size_t kMagicSize = 12;

// By its first bytes (the formats' own specifications); a name proves nothing.
std::string_view ImageType(std::string_view bytes) {
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return "image/png";
  if (bytes.starts_with("\xFF\xD8\xFF")) return "image/jpeg";
  if (bytes.starts_with("GIF87a") || bytes.starts_with("GIF89a")) return "image/gif";
  if (bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP") return "image/webp";
  return {};
}

}  // namespace

std::string ErrorResult(const Error& error) {
  std::string text = error.message.empty() ? std::string("failed") : error.message;
  if (!error.hint.empty()) text += "\n" + error.hint;
  return TextResult(utf8::Clean(text), true);
}

ToolAnswer::ToolAnswer(const Tool& tool, ToolRequest request, const Revision& revision,
                       const ToolOptions& options)
    : tool_(tool),
      request_(std::move(request)),
      revision_(revision),
      max_output_(options.max_output),
      run_(options.max_output) {}

RequestView ToolAnswer::Request(std::string_view request_id) const {
  RequestView view;
  view.op = tool_.op;
  view.flags = TakesInput() ? CSB_REQUEST_INPUT : 0;
  view.user = request_.user;
  view.request_id = request_id;
  view.payload = request_.payload;
  // A file is read only as far as it is shown, or the type of an image can be told.
  view.output_credit = tool_.answer == Answer::kRead ? std::max(max_output_, kMagicSize) : kDefaultCredit;
  return view;
}

// Whether more of the file is wanted than is there.
bool ToolAnswer::Wanted() const {
  if (data_.size() < kMagicSize) return true;
  return data_.size() < (image_type_.empty() ? max_output_ : kMaxImage);
}

void ToolAnswer::OnOutput(Call& call, uint32_t stream, std::string_view data) {
  if (tool_.answer != Answer::kRead) {
    if (stream == CSB_STREAM_STDOUT || stream == CSB_STREAM_STDERR) {
      if (tool_.answer == Answer::kOutput)
        data_.append(data);  // no more than the limit that was asked for
      else
        run_.Output(data);
    }
    call.Credit(data.size());
    return;
  }
  if (stream != CSB_STREAM_DATA || enough_) return;
  data_.append(data);
  if (data_.size() >= kMagicSize && offset_ == 0 && length_ == file_size_ && file_size_ <= kMaxImage)
    image_type_ = ImageType(data_);
  if (Wanted()) {
    call.Credit(image_type_.empty() ? 0 : data.size());
  } else if (data_.size() < length_) {
    enough_ = true;
    call.Cancel(CSB_E_CANCELLED);
  }
}

void ToolAnswer::OnEvent(uint32_t event, std::string_view json) {
  run_.Event(event, json);
  if (event != CSB_EVENT_META || tool_.answer != Answer::kRead) return;
  auto meta = json::ParseObject(json);
  if (!meta) return;  // a plugin's fault; the result will have no data
  const auto count = [&](std::string_view name) {
    return static_cast<uint64_t>(std::max<int64_t>(0, json::GetInt(*meta, name).value_or(0)));
  };
  path_ = json::GetString(*meta, "path").value_or("");
  file_size_ = count("size");
  offset_ = count("offset");
  length_ = count("length");
}

void ToolAnswer::OnInputCredit(Call& call, uint64_t bytes) {
  if (!TakesInput() || eof_sent_) return;
  const size_t n = static_cast<size_t>(std::min<uint64_t>(bytes, request_.content.size() - sent_));
  const std::string_view piece = std::string_view(request_.content).substr(sent_, n);
  sent_ += n;
  eof_sent_ = sent_ == request_.content.size();
  call.Input(piece, eof_sent_);
}

std::string ToolAnswer::Result(const OutcomeView& outcome) {
  const bool cut_short_by_us = enough_ && (outcome.ok() || outcome.code == CSB_E_CANCELLED);
  if (!outcome.ok() && !cut_short_by_us) {
    Error error = outcome.error();
    if (std::string partial = PartialOutput(); !partial.empty()) error.message += "\n" + partial;
    return ErrorResult(error);
  }
  switch (tool_.answer) {
    case Answer::kRun:
      return run_.Result(outcome.result, revision_);
    case Answer::kRead:
      return ReadResult();
    case Answer::kWrite:
      return WriteResult(outcome);
    case Answer::kList:
      return ListResult(outcome);
    case Answer::kProcess:
      return ProcessResult(outcome.result, revision_);
    case Answer::kProcesses:
      return ProcessesResult(outcome.result, revision_);
    case Answer::kOutput:
      return OutputResult(data_, outcome.result, revision_);
    case Answer::kInput:
      return InputResult(outcome.result, revision_);
    case Answer::kReset:
      return ResetResult(outcome.result, revision_);
  }
  return ErrorResult({CSB_E_INTERNAL, "a tool without an answer", "", false});
}

// What a run had printed when it was lost.
std::string ToolAnswer::PartialOutput() const {
  const std::string partial = tool_.answer == Answer::kRun ? run_.Partial() : std::string();
  return partial.empty() ? partial : "[output until then]\n" + partial;
}

std::string ToolAnswer::ReadResult() {
  const bool image = !image_type_.empty() && data_.size() == file_size_;
  if (image) {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Key(w, "content");
    w.StartArray();
    w.StartObject();
    json::Member(w, "type", "image");
    json::Member(w, "data", std::string_view(base64::Encode(data_)));
    json::Member(w, "mimeType", image_type_);
    w.EndObject();
    w.EndArray();
    json::Member(w, "isError", false);
    w.EndObject();
    return {buffer.GetString(), buffer.GetSize()};
  }
  std::string_view shown = std::string_view(data_).substr(0, max_output_);
  bool text = true;
  for (std::string_view rest = shown; !rest.empty();) {
    const int n = utf8::SequenceLength(rest);
    // A character that the cut went through is read on with the rest of the file.
    if (n < 0 && (shown.size() < data_.size() || offset_ + shown.size() < file_size_)) {
      shown.remove_suffix(rest.size());
      break;
    }
    if (n <= 0) {
      text = false;
      break;
    }
    rest.remove_prefix(static_cast<size_t>(n));
  }
  std::string out;
  if (text) {
    out = shown;
  } else {
    shown = shown.substr(0, max_output_ / 4 * 3);
    out = "[not UTF-8 text; " + std::to_string(shown.size()) + " bytes as base64]\n" + base64::Encode(shown);
  }
  const uint64_t next = offset_ + shown.size();
  if (shown.size() < length_)
    AppendLine(out, "[… " + std::to_string(offset_ + length_ - next) + " bytes dropped …]\n[the file has " +
                        std::to_string(file_size_) + " bytes; read on with offset " + std::to_string(next) +
                        "]");
  return TextResult(out, false);
}

std::string ToolAnswer::WriteResult(const OutcomeView& outcome) {
  auto doc = json::ParseObject(outcome.result);
  const auto path = doc ? json::GetString(*doc, "path") : std::nullopt;
  const auto size = doc ? json::GetInt(*doc, "size") : std::nullopt;
  if (!path || !size)
    return ErrorResult({CSB_E_INTERNAL, "the backend's answer to write_file is wrong", "", false});
  const std::string text = "Wrote " + std::to_string(*size) + " bytes to " + std::string(*path);
  return TextResult(text, false, revision_, [&](json::Writer& w) {
    json::Member(w, "path", *path);
    json::Member(w, "size", *size);
  });
}

std::string ToolAnswer::ListResult(const OutcomeView& outcome) {
  auto doc = json::ParseObject(outcome.result);
  const json::Value* entries = doc ? json::Find(*doc, "entries") : nullptr;
  const auto path = doc ? json::GetString(*doc, "path") : std::nullopt;
  if (!path || entries == nullptr || !entries->IsArray())
    return ErrorResult({CSB_E_INTERNAL, "the backend's answer to list_files is wrong", "", false});
  // As many entries as the bound holds, then how many there are more.
  std::string list;
  size_t listed = 0;
  for (const auto& entry : entries->GetArray()) {
    const std::string text = json::ToString(entry);
    if (list.size() + text.size() + 1 > max_output_) break;
    if (!list.empty()) list += ',';
    list += text;
    ++listed;
  }
  const bool cut = listed < entries->Size();
  const bool truncated = cut || json::GetBool(*doc, "truncated").value_or(false);
  std::string_view all = json::GetString(*doc, "text").value_or("");
  all = all.substr(0, max_output_);
  all.remove_suffix(CutCharacter(all));
  std::string text = utf8::Clean(all);
  if (entries->Empty() && text.empty()) text = "(empty)";
  if (truncated)
    AppendLine(text, "[there are more entries than the first " + std::to_string(listed) +
                         "; list a subfolder, or use run_shell with ls and a pattern]");
  return TextResult(text, false, revision_, [&](json::Writer& w) {
    json::Member(w, "path", *path);
    json::Key(w, "entries");
    const std::string array = "[" + list + "]";
    w.RawValue(array.data(), array.size(), rapidjson::kArrayType);
    json::Member(w, "truncated", truncated);
  });
}

}  // namespace csb::mcp
