// SPDX-License-Identifier: Apache-2.0
//
// guarded_operation.h: one operation at a backend, held to the contract. What the service
// submits through: it sees the events of a well-behaved backend whatever the plugin does.
//
//   GuardedOperation op;
//   Status s = GuardedOperation::Submit(backend, timers, request, events, this, &op);
//   if (!s) return s.error();          // no callback ever comes
//   op.Credit(65536);                  // [any] until Close
//   op.Cancel(CSB_E_DEADLINE);         // [any]
//   // on_done came, exactly once: op.Close(), or let op go out of scope
//
// What it enforces (docs/plugin-contract.md): done exactly once and last, no output beyond
// credit, no callback from inside a call, callbacks that do not overlap, a well-formed
// outcome. The first breach is logged with the plugin's name and ends the operation with
// CSB_E_INTERNAL; the backend is told to cancel and whatever it sends later is dropped.
// Time: `deadline_grace` after the request's deadline the operation is cancelled with
// CSB_E_DEADLINE; an operation that has not ended `cancel_grace` after a cancel is reported
// as CSB_E_INTERNAL "… ignored cancel" and detached: its handle is closed when (if ever) the
// backend says done. The same holds for a submit that does not return. Cancel and close are called
// on a thread of the backend's own (guard/registry.h), so that nobody waits for a plugin that blocks there.
//
// The ctx that a plugin gets is a ticket, not a pointer: a callback for an operation that was
// over long ago finds nothing and is logged, it does not touch freed memory.
#pragma once

#include <chrono>
#include <cstdint>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/operation.h"
#include "host/base/timers.h"
#include "host/plugin/instance.h"

namespace csb::host {

struct GuardTimes {
  std::chrono::milliseconds deadline_grace{2000};
  std::chrono::milliseconds cancel_grace{5000};
  std::chrono::milliseconds lane_wait{5000};  // for a call before it in the backend's own thread
};

namespace guard {
struct Slot;
}

class GuardedOperation {
 public:
  GuardedOperation() = default;
  GuardedOperation(GuardedOperation&& other) noexcept;
  GuardedOperation& operator=(GuardedOperation&& other) noexcept;
  ~GuardedOperation() { Close(); }

  // Starts an operation in the caller's thread. *out is set before the first callback; the
  // callbacks follow the rules of csb_events: serialized, never from inside Submit or a member
  // call. *out is empty before. `events` and `ctx` are used until on_done, or until Close. `backend` and
  // `timers` outlive the operation. On error *out stays as it was. [any]
  static Status Submit(BackendInstance& backend, Timers& timers, const csb_request& request,
                       const csb_events& events, void* ctx, GuardedOperation* out, GuardTimes times = {});

  explicit operator bool() const { return slot_ != nullptr; }
  // More than on_input_credit granted: CSB_E_INVALID. After the end: CSB_OK without effect. [worker]
  csb_status Input(csb_str data, bool eof);
  void Credit(uint64_t bytes);    // [any]
  void Cancel(csb_status cause);  // [any]
  // Gives the operation up. Before on_done: cancels, and no callback starts any more (one may
  // be running on another thread; it is not waited for when Close is called from inside a
  // callback of the operation, else it is). Idempotent. [worker]
  void Close();

 private:
  guard::Slot* slot_ = nullptr;
};

// Operations that a backend accepted and that are not both ended and closed. [any]
uint64_t OpenOperations(const BackendInstance& backend);

}  // namespace csb::host
