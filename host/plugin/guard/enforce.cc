// SPDX-License-Identifier: Apache-2.0
#include "host/plugin/guard/enforce.h"

#include <chrono>
#include <utility>

#include "clara_sandbox/cpp/detail/op_state.h"
#include "clara_sandbox/cpp/operations.h"
#include "host/plugin/call.h"
#include "host/plugin/guard/registry.h"

namespace csb::host::guard {

namespace {

constexpr const char* kHint = "this is a fault of the plugin; the host's log has more";

// The end of an operation for its submitter, if it has not ended for it yet.
bool TellInternal(Slot* slot, const std::string& message) {
  const Speaking speaking(slot);
  if (slot->told) return false;
  slot->told = slot->heard = true;
  const csb_outcome outcome{sizeof(csb_outcome), CSB_E_INTERNAL, 0, 0, {}, Str(message), Str(kHint)};
  slot->events->on_done(slot->ctx, &outcome);
  return true;
}

std::string Name(const Slot* slot) { return "plugin " + Registry::Get().name(slot->backend_id); }

void EndBroken(Slot* slot) {
  TellInternal(slot, Name(slot) + " broke the plugin contract in " + OperationText(slot));
  CancelBackend(slot, CSB_E_CANCELLED);
}

void EndIgnored(Slot* slot) {
  if (slot->backend_done) return;
  slot->broken = true;
  const std::string seconds =
      std::to_string(std::chrono::duration_cast<std::chrono::seconds>(slot->times.cancel_grace).count());
  const std::string what =
      slot->accepted ? "ignored cancel of " + OperationText(slot) + " for " + seconds + " s (rule 17)"
                     : "has not returned from submit of " + OperationText(slot) + " (rule 21)";
  Registry::Get().Report(slot->backend_id, what + "; it is left behind");
  TellInternal(slot, Name(slot) + " " + what);
}

void EndLate(Slot* slot) { CancelBackend(slot, CSB_E_DEADLINE); }

// A timer of the slot that runs fn(slot); replaces the one before.
void Arm(Slot* slot, Timers::Clock::time_point when, void (*fn)(Slot*)) {
  struct Fire {  // 16 trivially copyable bytes: std::function allocates nothing
    void* ticket;
    void (*fn)(Slot*);
    void operator()() const {
      Slot* held = Slots::Get().Hold(ticket);
      if (held == nullptr) return;
      {
        const std::lock_guard lock(held->timer_mutex);
        held->timer = 0;
      }
      if (!held->backend_done) Later(held, fn);  // the plugin may block: not on the timer thread
      Slots::Get().Let(held);
    }
  };
  const std::lock_guard lock(slot->timer_mutex);
  if (slot->timer != 0) slot->timers->Cancel(slot->timer);
  slot->timer = slot->backend_done ? 0 : slot->timers->At(when, Fire{slot->ticket(), fn});
}

}  // namespace

std::string OperationText(const Slot* slot) {
  const std::string_view name = NameOfOperation(slot->op_id);
  return "operation " + (name.empty() ? std::to_string(slot->op_id) : std::string(name));
}

void Later(Slot* slot, void (*fn)(Slot* slot)) {
  Slots::Get().Hold(slot);
  const auto work = [slot, fn] {
    fn(slot);
    Slots::Get().Let(slot);
  };
  // A host whose workers have stopped still owes the submitter its end.
  if (!Registry::Get().Post(slot->backend_id, work)) std::thread(work).detach();
}

void Breach(Slot* slot, std::string_view what) {
  if (slot->broken.exchange(true)) return;
  Registry::Get().Report(slot->backend_id, std::string(what) + " in " + OperationText(slot));
  Later(slot, &EndBroken);
}

void ReportStray(void* ticket, const char* callback) {
  Registry::Get().Report(Slots::BackendOf(ticket),
                         std::string("called ") + callback + " for an operation that is over (rule 13)");
}

void CancelBackend(Slot* slot, csb_status cause) {
  if (slot->backend_done) return;
  csb_status none = CSB_OK;
  const bool first = slot->cancel_cause.compare_exchange_strong(none, cause);
  if (first) Arm(slot, Timers::Clock::now() + slot->times.cancel_grace, &EndIgnored);
  if (!slot->accepted || slot->op == nullptr) return;  // not yet: Submit passes it on
  Slots::Get().Hold(slot);
  const auto cancel = [slot, cause] {
    if (!slot->backend_done) {
      const detail::InsideCall mark(slot);
      if (Status s = CallPlugin(Registry::Get().name(slot->backend_id), "cancel",
                                [&] { slot->calls->cancel(slot->op, cause); });
          !s)
        Breach(slot, s.error().message);
    }
    Slots::Get().Let(slot);
  };
  if (!Registry::Get().PostLane(slot->backend_id, cancel)) cancel();
}

void ArmDeadline(Slot* slot, uint64_t deadline_ns) {
  constexpr auto kFar = static_cast<uint64_t>(INT64_MAX / 2);
  if (deadline_ns == 0 || deadline_ns > kFar || slot->cancel_cause != CSB_OK) return;
  const Timers::Clock::time_point deadline{std::chrono::nanoseconds(static_cast<int64_t>(deadline_ns))};
  Arm(slot, deadline + slot->times.deadline_grace, &EndLate);
}

void Disarm(Slot* slot) {
  const std::lock_guard lock(slot->timer_mutex);
  // A backend that was left behind may end its operation when the timers are gone.
  if (slot->timer != 0)
    Registry::Get().IfThere(slot->backend_id, [slot] { slot->timers->Cancel(slot->timer); });
  slot->timer = 0;
}

void PassInputCredit(Slot* slot) {
  const uint64_t bytes = slot->input_to_pass.exchange(0);
  if (bytes == 0) return;
  const Speaking speaking(slot);
  if (slot->told || slot->broken) return;
  slot->heard = true;
  slot->input_credit.fetch_add(bytes);
  slot->events->on_input_credit(slot->ctx, bytes);
}

}  // namespace csb::host::guard
