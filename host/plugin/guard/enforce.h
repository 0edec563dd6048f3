// SPDX-License-Identifier: Apache-2.0
//
// enforce.h: what happens when a backend breaks the contract or does not end in time. Slots
// passed here are held by the caller.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

#include "host/plugin/guard/slot.h"

namespace csb::host::guard {

// The right to call the submitter of a slot: one at a time. Not on a thread that has it already.
class Speaking {
 public:
  explicit Speaking(Slot* slot) : slot_(slot) {
    slot_->callback.lock();
    slot_->callback_thread.store(std::this_thread::get_id(), std::memory_order_relaxed);
  }
  ~Speaking() {
    slot_->callback_thread.store(std::thread::id(), std::memory_order_relaxed);
    slot_->callback.unlock();
  }
  Speaking(const Speaking&) = delete;
  Speaking& operator=(const Speaking&) = delete;
  static bool Mine(const Slot* slot) {
    return slot->callback_thread.load(std::memory_order_relaxed) == std::this_thread::get_id();
  }

 private:
  Slot* slot_;
};

// "operation shell "
std::string OperationText(const Slot* slot);

// The first breach of an operation: logged; the submitter is told CSB_E_INTERNAL and the
// backend is told to cancel, both from a worker since the caller may be inside anything. What
// the backend sends after that is dropped.
void Breach(Slot* slot, std::string_view what);

// A callback with a ticket of an operation that is over, or none of ours.
void ReportStray(void* ticket, const char* callback);

// Asks the backend to end, from its lane; once it has accepted the operation. Starts the time it has for
// that, which a submit that does not return uses up too.
void CancelBackend(Slot* slot, csb_status cause);

// Cancels the operation at `deadline_ns` + times.deadline_grace; 0: never.
void ArmDeadline(Slot* slot, uint64_t deadline_ns);
void Disarm(Slot* slot);

// Tells the submitter what the backend granted, if it was not told yet. Not inside a call.
void PassInputCredit(Slot* slot);

// Runs fn(slot) elsewhere, holding the slot meanwhile.
void Later(Slot* slot, void (*fn)(Slot* slot));

}  // namespace csb::host::guard
