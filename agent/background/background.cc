// SPDX-License-Identifier: Apache-2.0
#include "agent/background/background.h"

#include <algorithm>
#include <memory>

#include "agent/base/instant.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

constexpr size_t kShownCommand = 200;

}  // namespace

Background::Background(Loop& loop, Identification identification)
    : loop_(loop), started_ns_(NowNs()), id_(std::move(identification)), started_ms_(WallMs()) {
  if (id_.command.size() > kShownCommand) id_.command.resize(kShownCommand);
  id_.command = utf8::Clean(id_.command);
}

void Background::Unfollow(BackgroundObserver& observer) { std::erase(observers_, &observer); }

void Background::Output(uint8_t stream, std::string_view bytes) {
  log_.Append(stream, bytes);
  Progress();
}

void Background::Shown(std::string_view json) {
  // An observer may leave while it is told.
  const auto observers = observers_;
  for (BackgroundObserver* observer : observers)
    if (std::find(observers_.begin(), observers_.end(), observer) != observers_.end())
      observer->OnShown(json);
}

// Once a round of the loop, and never from inside a call of an observer.
void Background::Progress() {
  if (std::exchange(notified_, true)) return;
  loop_.Defer([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    notified_ = false;
    const auto observers = observers_;
    for (BackgroundObserver* observer : observers)
      if (std::find(observers_.begin(), observers_.end(), observer) != observers_.end())
        observer->OnProgress();
  });
}

void Background::End(const Command& command, OutcomeInput input) {
  command_.spec.argv = command.spec.argv;
  command_.spec.cwd = command.spec.cwd;
  command_.answer = command.answer;
  end_ = std::move(input);
  ended_ = true;
  ended_ms_ = WallMs();
  Progress();
  if (on_end) on_end();
}

std::string Background::Payload(uint64_t stdout_dropped, uint64_t stderr_dropped, bool with_handle) const {
  OutcomeInput input = end_;
  input.stdout_bytes = log_.bytes(CSB_STREAM_STDOUT);
  input.stderr_bytes = log_.bytes(CSB_STREAM_STDERR);
  input.stdout_dropped = stdout_dropped;
  input.stderr_dropped = stderr_dropped;
  if (with_handle) input.more.emplace_back("handle", "\"" + id_.handle + "\"");
  return DonePayload(command_, input);
}

std::string Background::RunningPayload(uint64_t stdout_dropped, uint64_t stderr_dropped) const {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", 0);
  json::Key(w, "result");
  w.StartObject();
  json::Member(w, "exit_code", 0);
  json::Member(w, "cause", "running");
  json::Member(w, "signal", 0);
  json::Member(w, "execution_time",
               static_cast<double>(NowNs() - started_ns_) / static_cast<double>(kSecond));
  json::Member(w, "stdout_bytes", log_.bytes(CSB_STREAM_STDOUT));
  json::Member(w, "stderr_bytes", log_.bytes(CSB_STREAM_STDERR));
  json::Member(w, "stdout_dropped", stdout_dropped);
  json::Member(w, "stderr_dropped", stderr_dropped);
  json::Member(w, "message", "still running as " + id_.handle);
  json::Member(w, "hint", "wait for it, read its output from an offset, or end it, by that handle");
  json::Member(w, "running", true);
  json::Member(w, "handle", id_.handle);
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

void Background::Describe(json::Writer& w) const {
  json::Member(w, "handle", id_.handle);
  json::Member(w, "kind", id_.kind);
  json::Member(w, "command", id_.command);
  json::Member(w, "state", ended_ ? "exited" : "running");
  json::Member(w, "started_at", Instant(started_ms_));
  json::Member(w, "terminal", is_terminal());
  json::Member(w, "input", input_open());
  json::Member(w, "bytes", log_.end());
  json::Member(w, "first_offset", log_.begin());
  if (!ended_) {
    json::Member(w, "execution_time",
                 static_cast<double>(NowNs() - started_ns_) / static_cast<double>(kSecond));
    return;
  }
  json::Member(w, "ended_at", Instant(ended_ms_));
  const auto done = json::ParseObject(DonePayload(command_, end_));
  const json::Value* result = done ? json::Find(*done, "result") : nullptr;
  if (result != nullptr) {
    for (const char* name : {"exit_code", "cause", "signal", "message", "hint", "execution_time"})
      if (const json::Value* value = json::Find(*result, name)) {
        json::Key(w, name);
        value->Accept(w);
      }
    return;
  }
  // It never began.
  json::Member(w, "exit_code", 126);
  json::Member(w, "cause", "exit");
  json::Member(w, "signal", 0);
  json::Member(w, "execution_time", 0.0);
  for (const char* name : {"message", "hint"})
    json::Member(w, name, done ? json::GetString(*done, name).value_or("") : "");
}

std::string Background::Info(std::string_view more) const {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  Describe(w);
  w.EndObject();
  std::string text(buffer.GetString(), buffer.GetSize());
  if (!more.empty()) text.insert(text.size() - 1, "," + std::string(more));
  return text;
}

}  // namespace csb::agent
