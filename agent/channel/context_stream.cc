// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/context_stream.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/channel/outcome.h"
#include "agent/command/command.h"
#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

using protocol::Kind;

constexpr uint64_t kInputWindow = 256 << 10;
// Held in the sandbox's memory until the code runs.
constexpr uint64_t kMaxInput = 64 << 20;
constexpr size_t kMaxCode = 8 << 20;

Error Invalid(std::string_view field, std::string_view why) {
  return {CSB_E_INVALID, std::string(field) + ": " + std::string(why), "", false};
}

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
}

// Of an execution with results but no context: nobody else can name it.
std::string OwnName() {
  static uint64_t count = 0;
  return " " + std::to_string(++count);
}

}  // namespace

Result<ContextRequest> ReadContextRequest(const json::Value& args, const std::string& workspace) {
  ContextRequest request;
  const json::Value* code = json::Find(args, "code");
  if (code == nullptr) return Invalid("code", "is required");
  if (!code->IsString()) return Invalid("code", "must be a string");
  if (code->GetStringLength() > kMaxCode) return Invalid("code", "is longer than 8388608 bytes");
  request.execution.code.assign(code->GetString(), code->GetStringLength());
  if (json::Find(args, "context") == nullptr) {
    request.name = OwnName();
  } else {
    const auto name = json::GetString(args, "context");
    if (!name || !IsName(*name))
      return Invalid("context", "must be 1 to 64 of letters, digits, '_', '.' and '-'");
    request.name = *name;
  }
  if (const json::Value* given = json::Find(args, "args");
      given != nullptr && given->IsArray() && given->Size())
    return Invalid("args", "a context has no arguments of its own");
  request.execution.results = json::GetBool(args, "results").value_or(true);
  if (const auto cwd = json::GetString(args, "cwd"); cwd && !cwd->empty())
    request.execution.cwd = (*cwd)[0] == '/' ? std::string(*cwd) : workspace + "/" + std::string(*cwd);
  if (const json::Value* env = json::Find(args, "env")) {
    if (!env->IsObject()) return Invalid("env", "must be an object of strings");
    for (const auto& member : env->GetObject())
      if (!member.value.IsString()) return Invalid("env", "must be an object of strings");
    request.execution.env_json = json::ToString(*env);
  }
  if (const json::Value* output = json::Find(args, "output"); output != nullptr && output->IsObject()) {
    const auto bound = [&](const char* name) {
      return static_cast<uint64_t>(std::clamp<int64_t>(json::GetInt(*output, name).value_or(0), 0, 16 << 20));
    };
    request.head = bound("head");
    request.tail = bound("tail");
  }
  return request;
}

std::string ContextMember(const std::string& name, uint64_t number, bool fresh, const std::string& lost,
                          const ContextEnd& end) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "name", name);
  json::Member(w, "executions", number);
  json::Member(w, "new", fresh);
  if (!lost.empty()) json::Member(w, "lost", lost);
  // Whether its variables are still there after this.
  json::Member(w, "kept", end.completed);
  json::Member(w, "interrupted", end.interrupted);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

ContextStream::ContextStream(Loop& loop, ContextTable& contexts, const OomCounter& oom, Channel& channel,
                             uint32_t id, ContextRequest request,
                             std::function<void(ContextStream&)> finished)
    : loop_(loop),
      contexts_(contexts),
      oom_(oom),
      channel_(&channel),
      id_(id),
      request_(std::move(request)),
      finished_(std::move(finished)),
      gate_(&channel, id, request_.credit, request_.head, request_.tail),
      deadline_(loop, [this] { OnCancel(true); }),
      opened_ns_(NowNs()),
      name_(request_.name) {}

Status ContextStream::Start() {
  if (request_.with_input)
    input_.Reset(memfd_create("input", MFD_CLOEXEC));
  else
    input_.Reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!input_)
    return Error{errno == EMFILE || errno == ENFILE ? CSB_E_NO_CAPACITY : CSB_E_IO,
                 std::string("cannot hold an execution's input: ") + strerror(errno),
                 "end some of the running commands", true};
  if (request_.timeout_ms > 0) deadline_.Arm(opened_ns_ + static_cast<int64_t>(request_.timeout_ms) * kMs);
  if (!request_.with_input) {
    Enter();
    return {};
  }
  input_credit_ = kInputWindow;
  channel_->SendU64(Kind::kInputCredit, id_, kInputWindow);
  return {};
}

void ContextStream::Enter() {
  waiting_ = true;
  contexts_.Enter(request_.name, *this);
}

bool ContextStream::OnInput(std::string_view bytes, bool end) {
  if (!request_.with_input || input_ended_ || bytes.size() > input_credit_) return false;
  input_credit_ -= bytes.size();
  input_bytes_ += bytes.size();
  input_ended_ = end;
  if (over_ || cause_ != Cause::kNone) return true;
  bool failed = input_bytes_ > kMaxInput;
  for (std::string_view rest = bytes; !rest.empty() && !failed;) {
    const ssize_t n = write(input_.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    failed = n < 0;
    if (n > 0) rest.remove_prefix(static_cast<size_t>(n));
  }
  if (failed) {
    Answer(ErrorPayload({CSB_E_TOO_LARGE, "the input of code in a context is longer than 64 MiB",
                         "write it to a file first", false}));
  } else if (end) {
    lseek(input_.get(), 0, SEEK_SET);
    Enter();
  } else if (!bytes.empty()) {
    input_credit_ += bytes.size();
    channel_->SendU64(Kind::kInputCredit, id_, bytes.size());
  }
  return true;
}

void ContextStream::OnTurn(Context& context, bool fresh, const std::string& lost) {
  waiting_ = false;
  fresh_ = fresh;
  lost_ = lost;
  oom_before_ = oom_.Read();
  begun_ns_ = NowNs();
  request_.execution.input = std::move(input_);
  context_ = &context;
  number_ = context.executions() + 1;
  if (auto begun = context.Begin(std::move(request_.execution), *this); !begun) {
    context_ = nullptr;
    contexts_.Next(context);
    Answer(ErrorPayload(begun.error()));
  }
}

void ContextStream::OnNoTurn(const Error& error) {
  waiting_ = false;
  Answer(ErrorPayload(error));
}

void ContextStream::OnCancel(bool deadline) {
  if (over_ || cause_ != Cause::kNone) return;
  cause_ = deadline ? Cause::kDeadline : Cause::kCancelled;
  deadline_.Cancel();
  if (context_ != nullptr) return context_->Interrupt();
  if (end_) return TryFinish();  // only its output still waits for a reader
  contexts_.Leave(*this);
  Answer(deadline
             ? ErrorPayload({CSB_E_DEADLINE,
                             "Execution timed out while it waited for context " + request_.name +
                                 ", which runs something else",
                             "interrupt that, raise the timeout, or use a context of another name", true})
             : ErrorPayload({CSB_E_CANCELLED, "the execution was cancelled before it began", "", true}));
}

void ContextStream::OnDetached() {
  channel_ = nullptr;
  gate_.Detach();
  Cancel();
  Resume();
}

void ContextStream::OnCredit(uint64_t bytes) {
  gate_.AddCredit(bytes);
  Resume();
}

void ContextStream::Resume() {
  if (over_) return;
  if (context_ != nullptr) return context_->Resume();
  if (end_) TryFinish();
}

// Once it is cut short its output no longer waits for a slow reader.
size_t ContextStream::Room(uint8_t stream) {
  const size_t room = gate_.Room(stream);
  return room == 0 && cause_ != Cause::kNone && channel_ != nullptr && !channel_->full() ? 1 << 15 : room;
}

void ContextStream::OnOutput(uint8_t stream, std::string_view bytes) {
  const size_t room = gate_.Room(stream);
  gate_.Put(stream, bytes.substr(0, room));
  if (room < bytes.size()) gate_.Miss(stream, bytes.size() - room);
}

void ContextStream::OnResult(std::string_view json) {
  if (channel_ != nullptr) channel_->Send(Kind::kEvent, CSB_EVENT_RESULT, id_, json);
}

void ContextStream::OnEnd(const ContextEnd& end) {
  end_ = end;
  ended_ns_ = NowNs();
  deadline_.Cancel();
  Context& context = *std::exchange(context_, nullptr);
  if (name_[0] == ' ')
    contexts_.Delete(name_);
  else
    contexts_.Next(context);
  TryFinish();
}

void ContextStream::TryFinish() {
  if (!end_ || over_ || !gate_.SendTails(cause_ != Cause::kNone)) return;
  Command command;
  command.spec.argv = {"python3"};
  command.spec.cwd = request_.execution.cwd;
  OutcomeInput input;
  input.timeout_ms = request_.timeout_ms;
  input.deadline = cause_ == Cause::kDeadline;
  input.cancelled = cause_ == Cause::kCancelled;
  input.lost = end_->supervisor_lost;
  input.report = end_->report;
  if (end_->completed) {
    input.report = {};
    input.report.wait_status = end_->exit_code << 8;  // as of exit(2)
  }
  if (oom_before_ && !end_->completed) {
    const auto now = oom_.Read();
    input.oom_counted = now && *now > *oom_before_;
    if (input.oom_counted) input.memory_used = oom_.Usage();
  }
  input.seconds = static_cast<double>(ended_ns_ - begun_ns_) / static_cast<double>(kSecond);
  input.stdout_bytes = gate_.bytes(CSB_STREAM_STDOUT);
  input.stderr_bytes = gate_.bytes(CSB_STREAM_STDERR);
  input.stdout_dropped = gate_.dropped(CSB_STREAM_STDOUT);
  input.stderr_dropped = gate_.dropped(CSB_STREAM_STDERR);
  if (name_[0] != ' ')
    input.more.emplace_back("context", ContextMember(name_, number_, fresh_, lost_, *end_));
  Answer(DonePayload(command, input));
}

void ContextStream::Answer(const std::string& payload) {
  if (std::exchange(over_, true)) return;
  deadline_.Cancel();
  if (channel_ != nullptr) {
    channel_->Remove(id_);
    channel_->Send(Kind::kDone, 0, id_, payload);
  }
  finished_(*this);
}

}  // namespace csb::agent
