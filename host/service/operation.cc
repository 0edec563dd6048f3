// SPDX-License-Identifier: Apache-2.0
#include "host/service/operation.h"

#include <algorithm>
#include <utility>

#include "host/service/core.h"

namespace csb::host {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr size_t kPiece = 64 << 10;

Operation* From(csb_op* op) { return reinterpret_cast<Operation*>(op); }
Operation* FromContext(void* ctx) { return static_cast<Operation*>(ctx); }

Outcome NeverStarted(csb_status cause, bool shutdown) {
  if (shutdown) return Outcome::Of(ShuttingDown());
  if (cause == CSB_E_DEADLINE)
    return {CSB_E_DEADLINE, true, "", "Execution timed out: the sandbox was not ready before the deadline",
            "try again; raise the request's time limit"};
  return {CSB_E_CANCELLED, true, "", "cancelled before it was started", ""};
}

}  // namespace

const csb_op_calls Operation::kCalls = {sizeof(csb_op_calls),   0,
                                        &Operation::CallInput,  &Operation::CallCredit,
                                        &Operation::CallCancel, &Operation::CallClose};
const csb_events Operation::kEvents = {sizeof(csb_events),        0,
                                       &Operation::OnOutput,      &Operation::OnEvent,
                                       &Operation::OnInputCredit, &Operation::OnDone};

Operation::Operation(std::shared_ptr<Core> core, const csb_request& request, Checked checked,
                     const csb_events& events, void* ctx)
    : op(request.op),
      request_id(View(request.request_id)),
      payload(checked.payload ? *std::move(checked.payload) : std::string(View(request.payload))),
      timeout(checked.timeout),
      requested_backend(std::move(checked.backend)),
      caller_deadline_ns(request.deadline_ns),
      core_(std::move(core)),
      flags_(request.flags),
      events_(&events),
      ctx_(ctx),
      credit_(request.output_credit) {}

void Operation::Hold() { frontend_hold_ = service_hold_ = shared_from_this(); }

void Operation::Unhold() {
  auto self = std::move(frontend_hold_);
  service_hold_.reset();
}

bool Operation::ended() const {
  std::lock_guard lock(mutex_);
  return phase_ == Phase::kEnded;
}

bool Operation::Take() {
  std::lock_guard lock(mutex_);
  if (phase_ != Phase::kQueued) return false;
  phase_ = Phase::kTaken;
  if (deadline_timer_ != 0) core_->timers.Cancel(std::exchange(deadline_timer_, 0));
  return true;
}

bool Operation::PutBack() {
  std::lock_guard lock(mutex_);
  if (cancel_ != CSB_OK) return false;
  current_ = nullptr;
  phase_ = Phase::kQueued;
  return true;
}

void Operation::ArmDeadline() {
  if (caller_deadline_ns == 0) return;
  std::lock_guard lock(mutex_);
  if (phase_ != Phase::kQueued || deadline_timer_ != 0) return;
  const Timers::Clock::time_point when{
      std::chrono::duration_cast<Timers::Clock::duration>(std::chrono::nanoseconds(caller_deadline_ns))};
  deadline_timer_ = core_->timers.At(when, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->CancelIfQueued(CSB_E_DEADLINE);
  });
}

Status Operation::SubmitTo(int index, uint64_t on_generation) {
  generation = on_generation;
  backend.store(index, std::memory_order_relaxed);
  csb_request request{};
  request.struct_size = sizeof request;
  request.op = op;
  request.flags = flags_;
  request.user = Str(user->id);
  request.request_id = Str(request_id);
  request.payload = Str(payload);
  // Counted from now, when the sandbox is ready.
  request.deadline_ns = caller_deadline_ns;
  if (timeout > 0) {
    const uint64_t own = NowNs() + static_cast<uint64_t>(timeout * static_cast<double>(kNsPerSecond));
    request.deadline_ns = caller_deadline_ns == 0 ? own : std::min(own, caller_deadline_ns);
  }
  Attempt* attempt = &attempt_[attempts_++];
  csb_status cancelled;
  {
    std::lock_guard lock(mutex_);
    current_ = attempt;
    request.output_credit = credit_;
    cancelled = cancel_;
  }
  if (cancelled != CSB_OK) attempt->Cancel(cancelled);
  return attempt->Submit(core_->backends[static_cast<size_t>(index)]->instance, core_->timers, request,
                         kEvents, this, core_->options.guard);
}

void Operation::Follow(std::shared_ptr<Call> call) {
  csb_status cause;
  {
    std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) return;  // the call was over at once
    call_ = call;
    cause = cancel_;
  }
  if (cause != CSB_OK) call->Cancel(cause);
}

// ---- ends ----

void Operation::Finish(Outcome outcome) {
  std::shared_ptr<Call> call;  // freed without the lock: closing it waits for its last callback
  {
    std::lock_guard lock(mutex_);
    phase_ = Phase::kEnded;
    call = std::move(call_);
  }
  call.reset();
  core_->completions->Post([self = shared_from_this(), o = std::move(outcome)]() mutable {
    csb_outcome outcome{};
    outcome.struct_size = sizeof outcome;
    outcome.code = o.code;
    outcome.retryable = o.retryable ? 1 : 0;
    outcome.result = Str(o.result);
    outcome.message = Str(o.message);
    outcome.hint = Str(o.hint);
    DeliverAndEnd(std::move(self), outcome);
  });
}

void Operation::FinishIfQueued(Outcome outcome) {
  if (Take()) Finish(std::move(outcome));
}

void Operation::FinishWithData(std::string text) {
  core_->completions->Post([self = shared_from_this(), text = std::move(text)]() mutable {
    if (self->ended()) return;
    self->data_ = std::move(text);
    {
      std::lock_guard lock(self->mutex_);
      self->local_data_ = true;
    }
    self->SendData();
  });
}

void Operation::SendData() {
  while (data_sent_ < data_.size()) {
    uint64_t piece;
    {
      std::lock_guard lock(mutex_);
      if (phase_ == Phase::kEnded) return;
      piece = std::min<uint64_t>({credit_, data_.size() - data_sent_, kPiece});
      credit_ -= piece;
    }
    if (piece == 0) return;  // goes on with the next credit
    events_->on_output(ctx_, CSB_STREAM_DATA, Str(std::string_view(data_).substr(data_sent_, piece)));
    data_sent_ += piece;
  }
  core_->Unqueue(shared_from_this());
  FinishIfQueued({.result = "{}"});
}

void Operation::ForwardEvent(uint32_t event, std::string_view json) {
  events_->on_event(ctx_, event, Str(json));
}

void Operation::Deliver(const csb_outcome& outcome) {
  core_->Account(op, user.get(), backend.load(std::memory_order_relaxed), outcome.code, request_id, started);
  const auto hold = std::move(service_hold_);
  events_->on_done(ctx_, &outcome);
}

void Operation::DeliverAndEnd(std::shared_ptr<Operation> self, const csb_outcome& outcome) {
  const auto core = self->core_;
  self->Deliver(outcome);
  self.reset();
  core->End();
}

// ---- from the backend ----

void Operation::OnOutput(void* ctx, uint32_t stream, csb_str data) {
  Operation* self = FromContext(ctx);
  self->output_seen_ = true;
  self->events_->on_output(self->ctx_, stream, data);
}

void Operation::OnEvent(void* ctx, uint32_t event, csb_str json) {
  Operation* self = FromContext(ctx);
  self->output_seen_ = true;
  self->events_->on_event(self->ctx_, event, json);
}

void Operation::OnInputCredit(void* ctx, uint64_t bytes) {
  Operation* self = FromContext(ctx);
  // What the frontend sends from now on could not be sent again.
  self->output_seen_ = true;
  self->events_->on_input_credit(self->ctx_, bytes);
}

void Operation::OnDone(void* ctx, const csb_outcome* given) {
  auto self = FromContext(ctx)->shared_from_this();
  csb_outcome outcome = *given;
  if (!self->core_->OnBackendDone(self, outcome)) return;
  Error shutting_down;
  {
    std::lock_guard lock(self->mutex_);
    self->phase_ = Phase::kEnded;
    if (self->shutdown_ && outcome.code == CSB_E_CANCELLED) {
      shutting_down = ShuttingDown();
      outcome.message = Str(shutting_down.message);
      outcome.hint = Str(shutting_down.hint);
      outcome.retryable = 0;  // it may have run
    }
  }
  DeliverAndEnd(std::move(self), outcome);
}

// ---- from the frontend ----

csb_status Operation::CallInput(csb_op* op, csb_str data, uint32_t eof) {
  Operation* self = From(op);
  Attempt* attempt;
  {
    std::lock_guard lock(self->mutex_);
    if (self->phase_ == Phase::kEnded) return CSB_OK;
    attempt = self->current_;
  }
  // Before any credit was granted there is nowhere to put it.
  return attempt == nullptr ? CSB_E_INVALID : attempt->Input(data, eof != 0);
}

void Operation::CallCredit(csb_op* op, uint64_t bytes) {
  Operation* self = From(op);
  Attempt* attempt;
  bool local;
  {
    std::lock_guard lock(self->mutex_);
    if (self->phase_ == Phase::kEnded) return;
    self->credit_ = bytes > UINT64_MAX - self->credit_ ? UINT64_MAX : self->credit_ + bytes;
    attempt = self->current_;
    local = self->local_data_;
  }
  if (attempt != nullptr) attempt->Credit(bytes);
  if (local) self->core_->completions->Post([keep = self->shared_from_this()] { keep->SendData(); });
}

void Operation::Cancel(csb_status cause) {
  Attempt* attempt;
  std::shared_ptr<Call> call;
  {
    std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) return;
    if (cancel_ == CSB_OK) cancel_ = cause == CSB_OK ? CSB_E_CANCELLED : cause;
    attempt = current_;
    call = call_;
  }
  if (CancelIfQueued(cause)) return;
  if (attempt != nullptr) attempt->Cancel(cause);
  if (call != nullptr) call->Cancel(cause);
}

bool Operation::CancelIfQueued(csb_status cause) {
  if (!Take()) return false;
  bool shutdown;
  {
    std::lock_guard lock(mutex_);
    shutdown = shutdown_;
  }
  core_->Unqueue(shared_from_this());
  Finish(NeverStarted(cause, shutdown));
  return true;
}

void Operation::CancelForShutdown() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(shutdown_, true)) return;
  }
  Cancel(CSB_E_CANCELLED);
}

void Operation::CallCancel(csb_op* op, csb_status cause) { From(op)->Cancel(cause); }

void Operation::CallClose(csb_op* op) {
  Operation* self = From(op);
  // Closing what still runs breaks the rule of the table; the best that can be done is to end it.
  self->Cancel(CSB_E_CANCELLED);
  auto hold = std::move(self->frontend_hold_);
}

}  // namespace csb::host
