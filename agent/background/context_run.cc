// SPDX-License-Identifier: Apache-2.0
#include "agent/background/context_run.h"

#include <fcntl.h>
#include <signal.h>

#include <cerrno>
#include <cstring>

namespace csb::agent {

ContextRun::ContextRun(Loop& loop, ContextTable& contexts, const OomCounter& oom,
                       Identification identification, ContextRequest request)
    : Background(loop, std::move(identification)),
      contexts_(contexts),
      oom_(oom),
      request_(std::move(request)),
      deadline_(loop, [this] { Kill(Cause::kDeadline); }) {}

ContextRun::~ContextRun() { contexts_.Leave(*this); }

Status ContextRun::Start() {
  request_.execution.input.Reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!request_.execution.input)
    return Error{CSB_E_NO_CAPACITY, std::string("cannot open /dev/null: ") + strerror(errno),
                 "end some of the running commands", true};
  if (request_.timeout_ms > 0) deadline_.Arm(started_ns_ + static_cast<int64_t>(request_.timeout_ms) * kMs);
  contexts_.Enter(request_.name, *this);
  return {};
}

void ContextRun::OnTurn(Context& context, bool fresh, const std::string& lost) {
  fresh_ = fresh;
  lost_ = lost;
  oom_before_ = oom_.Read();
  begun_ns_ = NowNs();
  number_ = context.executions() + 1;
  context_ = &context;
  if (auto begun = context.Begin(std::move(request_.execution), *this); !begun) {
    context_ = nullptr;
    contexts_.Next(context);
    OnNoTurn(begun.error());
  }
}

void ContextRun::OnNoTurn(const Error& error) {
  if (ended()) return;
  deadline_.Cancel();
  OutcomeInput input;
  input.timeout_ms = request_.timeout_ms;
  input.deadline = cause_ == Cause::kDeadline;
  input.cancelled = cause_ == Cause::kCancelled || cause_ == Cause::kRemoved;
  input.failed = error;
  End({}, std::move(input));
}

void ContextRun::Signal(int number) {
  if (context_ == nullptr) return;
  if (number == SIGKILL)
    context_->Kill("it was killed by request");
  else
    context_->Signal(number);
}

void ContextRun::Kill(Cause cause) {
  if (ended() || cause_ != Cause::kNone) return;
  cause_ = cause;
  deadline_.Cancel();
  if (context_ != nullptr) return context_->Interrupt();
  contexts_.Leave(*this);
  OnNoTurn({cause == Cause::kDeadline ? CSB_E_DEADLINE : CSB_E_CANCELLED,
            "the execution was ended while it waited for context " + request_.name, "", true});
}

void ContextRun::OnEnd(const ContextEnd& end) {
  deadline_.Cancel();
  Context& context = *std::exchange(context_, nullptr);
  if (request_.name[0] == ' ')
    contexts_.Delete(request_.name);
  else
    contexts_.Next(context);
  Command command;
  command.spec.argv = {"python3"};
  OutcomeInput input;
  input.timeout_ms = request_.timeout_ms;
  input.deadline = cause_ == Cause::kDeadline;
  input.cancelled = cause_ == Cause::kCancelled || cause_ == Cause::kRemoved;
  input.lost = end.supervisor_lost;
  input.report = end.report;
  if (end.completed) {
    input.report = {};
    input.report.wait_status = end.exit_code << 8;  // as of exit(2)
  } else if (oom_before_) {
    const auto now = oom_.Read();
    input.oom_counted = now && *now > *oom_before_;
    if (input.oom_counted) input.memory_used = oom_.Usage();
  }
  input.seconds = static_cast<double>(NowNs() - begun_ns_) / static_cast<double>(kSecond);
  if (request_.name[0] != ' ')
    input.more.emplace_back("context", ContextMember(request_.name, number_, fresh_, lost_, end));
  End(command, std::move(input));
}

}  // namespace csb::agent
