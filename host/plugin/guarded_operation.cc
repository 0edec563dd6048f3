// SPDX-License-Identifier: Apache-2.0
//
// References to the slot of an operation: the submitter's (until Close), the backend's (until
// its on_done, or until submit failed), one while Submit runs, and short ones of whoever acts
// on it. The last closes the backend's handle.
#include "host/plugin/guarded_operation.h"

#include <string>
#include <utility>

#include "clara_sandbox/cpp/detail/op_state.h"
#include "host/plugin/call.h"
#include "host/plugin/guard/callbacks.h"
#include "host/plugin/guard/enforce.h"
#include "host/plugin/guard/registry.h"
#include "host/plugin/guard/slot.h"

namespace csb::host {

using guard::Slot;
using guard::Slots;

namespace {

const std::string& NameOf(const Slot* slot) { return guard::Registry::Get().name(slot->backend_id); }

void PassCredit(Slot* slot) {
  const uint64_t bytes = slot->credit_to_pass.exchange(0);
  if (bytes == 0 || slot->backend_done || slot->op == nullptr) return;
  const detail::InsideCall mark(slot);
  if (Status s = CallPlugin(NameOf(slot), "credit", [&] { slot->calls->credit(slot->op, bytes); }); !s)
    guard::Breach(slot, s.error().message);
}

csb_status PassInput(Slot* slot, csb_str data, bool eof) {
  if (slot->op == nullptr) return CSB_OK;
  csb_status code = CSB_OK;
  const detail::InsideCall mark(slot);
  if (Status s =
          CallPlugin(NameOf(slot), "input", [&] { code = slot->calls->input(slot->op, data, eof ? 1 : 0); });
      !s) {
    guard::Breach(slot, s.error().message);
    return CSB_E_INTERNAL;
  }
  return code;
}

csb_status PassEof(Slot* slot) {
  if (!slot->eof_to_pass.exchange(false) || slot->backend_done) return CSB_OK;
  return PassInput(slot, {}, true);
}

// submit returned CSB_OK.
void Accept(Slot* slot) {
  slot->accepted = true;
  if (slot->op == nullptr) guard::Breach(slot, "returned success from submit without a handle (rule 11)");
  PassCredit(slot);
  (void)PassEof(slot);  // a failure of the backend's shows in its outcome
  if (const csb_status cause = slot->cancel_cause.exchange(CSB_OK); cause != CSB_OK)
    guard::CancelBackend(slot, cause);
  if (slot->input_to_pass != 0) guard::Later(slot, &guard::PassInputCredit);
}

// submit failed. true: the submitter has heard nothing and never will.
bool Refuse(Slot* slot) {
  if (slot->op != nullptr)
    guard::Registry::Get().Report(slot->backend_id, "returned an error from submit and a handle (rule 10)");
  bool heard = false;
  {
    const guard::Speaking speaking(slot);
    heard = slot->heard;
    if (!heard) slot->told = true;
  }
  if (heard) guard::Breach(slot, "called back and then returned an error from submit (rule 10)");
  slot->broken = true;
  if (!slot->backend_done.exchange(true)) {
    guard::Disarm(slot);
    Slots::Get().Let(slot);
  }
  return !heard;
}

}  // namespace

GuardedOperation::GuardedOperation(GuardedOperation&& other) noexcept
    : slot_(std::exchange(other.slot_, nullptr)) {}

GuardedOperation& GuardedOperation::operator=(GuardedOperation&& other) noexcept {
  if (this != &other) {
    Close();
    slot_ = std::exchange(other.slot_, nullptr);
  }
  return *this;
}

Status GuardedOperation::Submit(BackendInstance& backend, Timers& timers, const csb_request& request,
                                const csb_events& events, void* ctx, GuardedOperation* out,
                                GuardTimes times) {
  Slots& slots = Slots::Get();
  Slot* slot = slots.Take(backend.guard_id());  // the submitter's reference
  if (slot == nullptr)
    return Error{CSB_E_NO_CAPACITY, "too many operations are under way", "try again when some have ended",
                 true};
  slot->calls = backend.table()->calls;
  slot->events = &events;
  slot->ctx = ctx;
  slot->timers = &timers;
  slot->times = times;
  slot->op_id = request.op;
  slot->output_credit = request.output_credit;
  slots.Hold(slot);  // the backend's
  slots.Hold(slot);  // ours
  out->slot_ = slot;
  guard::ArmDeadline(slot, request.deadline_ns);  // also for a submit that does not return

  csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
  csb_status code = CSB_OK;
  Status called;
  {
    const detail::InsideCall mark(slot);
    called = CallPlugin(backend.name(), "submit", [&] {
      code = backend.table()->submit(backend.self(), &request, &guard::kCallbacks, slot->ticket(), &slot->op,
                                     &error);
    });
  }
  Status status;
  if (called && code == CSB_OK) {
    Accept(slot);
  } else {
    if (!called) guard::Registry::Get().Report(slot->backend_id, "threw in submit (rule 9)");
    if (Refuse(slot)) {
      status = called ? ErrorOfPlugin(backend.name(), "submit", code, error) : std::move(called).error();
      out->slot_ = nullptr;
      slots.Let(slot);
    }
  }
  slots.Let(slot);
  return status;
}

csb_status GuardedOperation::Input(csb_str data, bool eof) {
  if (slot_ == nullptr || slot_->backend_done || slot_->broken) return CSB_OK;
  uint64_t credit = slot_->input_credit.load();
  do {
    if (data.size > credit) return CSB_E_INVALID;
  } while (!slot_->input_credit.compare_exchange_weak(credit, credit - data.size));
  if (data.size == 0 && eof) {  // needs no credit, so it may come before submit has returned
    slot_->eof_to_pass = true;
    return slot_->accepted ? PassEof(slot_) : CSB_OK;
  }
  return PassInput(slot_, data, eof);
}

void GuardedOperation::Credit(uint64_t bytes) {
  if (slot_ == nullptr || slot_->backend_done) return;
  uint64_t credit = slot_->output_credit.load();
  while (!slot_->output_credit.compare_exchange_weak(credit,
                                                     credit + bytes < credit ? UINT64_MAX : credit + bytes)) {
  }
  slot_->credit_to_pass.fetch_add(bytes);
  if (slot_->accepted) PassCredit(slot_);
}

void GuardedOperation::Cancel(csb_status cause) {
  if (slot_ != nullptr) guard::CancelBackend(slot_, cause == CSB_OK ? CSB_E_CANCELLED : cause);
}

void GuardedOperation::Close() {
  Slot* slot = slot_;
  if (slot == nullptr) return;
  if (guard::Speaking::Mine(slot)) {
    slot->told = true;
  } else {
    const guard::Speaking speaking(slot);
    slot->told = true;
  }
  slot_ = nullptr;  // only now: until here a callback may have used it for Credit
  guard::CancelBackend(slot, CSB_E_CANCELLED);
  Slots::Get().Let(slot);
}

uint64_t OpenOperations(const BackendInstance& backend) {
  return guard::Registry::Get().open(backend.guard_id());
}

}  // namespace csb::host
