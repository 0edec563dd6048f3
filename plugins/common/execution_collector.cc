// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/execution_collector.h"

#include <algorithm>

#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/operation.h"

namespace csb {
namespace {

bool Continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Bytes at the end of `text` that begin a character which is not whole.
size_t CutAtEnd(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    if (Continuation(text[text.size() - back])) continue;
    return utf8::SequenceLength(text.substr(text.size() - back)) < 0 ? back : 0;
  }
  return 0;
}

// Bytes at the start of `text` that end a character whose start is missing.
size_t CutAtStart(std::string_view text) {
  size_t n = 0;
  while (n < 3 && n < text.size() && Continuation(text[n])) ++n;
  return n;
}

std::string Marker(uint64_t bytes) { return "[… " + std::to_string(bytes) + " bytes dropped …]"; }

uint64_t Count(const json::Value& result, std::string_view name) {
  return static_cast<uint64_t>(std::max<int64_t>(0, json::GetInt(result, name).value_or(0)));
}

}  // namespace

void BoundedText::Append(std::string_view bytes) {
  if (!in_tail_) {
    const std::string_view fits = bytes.substr(0, head_limit_ - head_.size());
    head_.append(fits);
    bytes.remove_prefix(fits.size());
    if (bytes.empty()) return;
    in_tail_ = true;
  }
  if (bytes.size() > tail_limit_) {
    dropped_ += tail_.size() + bytes.size() - tail_limit_;
    tail_.assign(bytes.substr(bytes.size() - tail_limit_));
    return;
  }
  tail_.append(bytes);
  // Twice the limit before anything moves: each byte is moved once then.
  if (tail_.size() > 2 * tail_limit_) {
    const size_t over = tail_.size() - tail_limit_;
    tail_.erase(0, over);
    dropped_ += over;
  }
}

void BoundedText::Dropped(uint64_t bytes) {
  if (bytes == 0) return;
  // A second gap is told in place; the first one stands between head and tail.
  if (in_tail_ && !tail_.empty()) return Append("\n" + Marker(bytes) + "\n");
  in_tail_ = true;
  dropped_ += bytes;
}

uint64_t BoundedText::dropped() const {
  return dropped_ + (tail_.size() > tail_limit_ ? tail_.size() - tail_limit_ : 0);
}

size_t BoundedText::size() const { return head_.size() + std::min(tail_.size(), tail_limit_); }

std::string BoundedText::Text(size_t limit) const {
  std::string_view head = head_, tail = tail_;
  uint64_t missing = dropped();
  if (tail.size() > tail_limit_) tail.remove_prefix(tail.size() - tail_limit_);
  std::string whole;
  if (missing == 0) {
    whole = head_ + std::string(tail);
    if (whole.size() <= limit) return utf8::Clean(whole);
    head = std::string_view(whole).substr(0, limit / 2);
    tail = std::string_view(whole).substr(head.size());
  }
  if (head.size() + tail.size() > limit) {
    const size_t before = head.size() + tail.size();
    // What one side does not need is the other's.
    const size_t head_share = std::max(limit / 2, limit - std::min(limit, tail.size()));
    head = head.substr(0, head_share);
    tail.remove_prefix(tail.size() - std::min(tail.size(), limit - head.size()));
    missing += before - head.size() - tail.size();
  }
  const size_t end = CutAtEnd(head), start = CutAtStart(tail);
  head.remove_suffix(end);
  tail.remove_prefix(start);
  missing += end + start;
  std::string text = utf8::Clean(head);
  if (!text.empty() && text.back() != '\n') text += '\n';
  text += Marker(missing);
  if (tail.empty() || tail.front() != '\n') text += '\n';
  return text + utf8::Clean(tail);
}

std::optional<std::string> Execution::error() const {
  if (message.empty() && stderr_text.empty()) return std::nullopt;
  if (message.empty()) return stderr_text;
  std::string text = message;
  if (!hint.empty()) text += " (" + hint + ")";
  if (!stderr_text.empty()) text += "\n" + stderr_text;
  return text;
}

ExecutionCollector::ExecutionCollector(Limits limits)
    : both_(limits.both), stdout_(limits.head, limits.tail), stderr_(limits.head, limits.tail) {}

void ExecutionCollector::Output(uint32_t stream, std::string_view bytes) {
  if (stream == CSB_STREAM_STDOUT) stdout_.Append(bytes);
  if (stream == CSB_STREAM_STDERR) stderr_.Append(bytes);
}

void ExecutionCollector::Event(uint32_t event, std::string_view json) {
  if (event != CSB_EVENT_DROPPED) return;
  auto doc = json::ParseObject(json);
  if (!doc) return;  // an event is told by a plugin; one that is not JSON tells nothing
  const auto stream = json::GetInt(*doc, "stream");
  if (stream == CSB_STREAM_STDOUT) stdout_.Dropped(Count(*doc, "bytes"));
  if (stream == CSB_STREAM_STDERR) stderr_.Dropped(Count(*doc, "bytes"));
}

Result<Execution> ExecutionCollector::Finish(std::string_view result) {
  auto doc = json::ParseObject(result);
  const auto exit_code = doc ? json::GetInt(*doc, "exit_code") : std::nullopt;
  if (!exit_code) return Error{CSB_E_INTERNAL, "the backend's answer is not a program's result", "", false};
  Execution run;
  run.exit_code = static_cast<int>(*exit_code);
  run.success = *exit_code == 0;
  run.signal = static_cast<int>(json::GetInt(*doc, "signal").value_or(0));
  run.cause = json::GetString(*doc, "cause").value_or("exit");
  run.execution_time = json::GetNumber(*doc, "execution_time").value_or(0);
  run.message = json::GetString(*doc, "message").value_or("");
  run.hint = json::GetString(*doc, "hint").value_or("");
  run.stdout_bytes = Count(*doc, "stdout_bytes");
  run.stderr_bytes = Count(*doc, "stderr_bytes");
  // The result has what the agent dropped, the texts also what was dropped here.
  run.stdout_dropped = std::max(Count(*doc, "stdout_dropped"), stdout_.dropped());
  run.stderr_dropped = std::max(Count(*doc, "stderr_dropped"), stderr_.dropped());
  run.truncated = run.stdout_dropped > 0 || run.stderr_dropped > 0;
  const size_t for_stderr = std::max(both_ / 3, both_ - std::min(both_, stdout_.size()));
  run.stderr_text = stderr_.Text(std::min(stderr_.size(), for_stderr));
  const size_t for_stdout = both_ - std::min(stderr_.size(), for_stderr);
  run.output = stdout_.Text(std::min(stdout_.size(), for_stdout));
  run.truncated = run.truncated || stderr_.size() > for_stderr || stdout_.size() > for_stdout;
  return run;
}

void WriteExecution(json::Writer& w, const Execution& run) {
  json::Member(w, "success", run.success);
  json::Member(w, "output", std::string_view(run.output));
  json::Key(w, "error");
  if (const auto error = run.error())
    json::String(w, *error);
  else
    w.Null();
  json::Member(w, "exit_code", run.exit_code);
  json::Member(w, "execution_time", run.execution_time);
  json::Member(w, "timed_out", run.timed_out());
  json::Member(w, "oom_killed", run.oom_killed());
  json::Member(w, "truncated", run.truncated);
  json::Member(w, "stdout_bytes", run.stdout_bytes);
  json::Member(w, "stderr_bytes", run.stderr_bytes);
}

}  // namespace csb
