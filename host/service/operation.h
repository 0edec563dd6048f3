// SPDX-License-Identifier: Apache-2.0
//
// operation.h: one operation of a frontend, from submit to close; what a csb_op of csb.service/1
// points to.
//
// Phases: an operation begins kQueued (nobody but the queue has it: a cancel ends it at once).
// Whoever wants to work on it takes it (kTaken: from then on only the taker ends it, and a cancel
// is handed on). Exactly one side wins, so done comes exactly once.
//
// Events: those of a backend are passed through on the backend's thread. Those of the service's own
// come from its one completion thread. The two never overlap, since an operation is either at a
// backend or in the service's hands.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "host/service/attempt.h"
#include "host/service/call.h"
#include "host/service/service.h"
#include "host/service/validate.h"

namespace csb::host {

struct User;

class Operation : public std::enable_shared_from_this<Operation> {
 public:
  using Core = Service::Core;

  Operation(std::shared_ptr<Core> core, const csb_request& request, Checked checked, const csb_events& events,
            void* ctx);

  // What was asked.
  const uint32_t op;
  const std::string request_id, payload;
  const double timeout;  // seconds; 0: none
  const std::optional<std::string> requested_backend;
  bool seen_running = false;  // its sandbox runs, though this host has not joined it yet; under control
  const uint64_t caller_deadline_ns;  // 0: none
  const Timers::Clock::time_point started = Timers::Clock::now();
  std::shared_ptr<User> user;

  // Where it is. Written by whoever has it.
  std::atomic<int> backend{Metrics::kNoBackend};
  uint64_t generation = 0;   // of the sandbox it was submitted to
  size_t running_index = 0;  // in User::running, under User::mutex

  static const csb_op_calls kCalls;
  csb_op* handle() { return reinterpret_cast<csb_op*>(this); }
  // Keeps it alive until both the frontend closed it and done was delivered.
  void Hold();
  void Unhold();  // submit failed: the frontend never had it

  // kQueued → kTaken; false when it has ended already.
  bool Take();
  // kTaken → kQueued: it goes back to the queue, with the credit that came meanwhile. false when it
  // was cancelled: the caller ends it.
  bool PutBack();
  bool ended() const;
  // While it is queued, the caller's deadline ends it.
  void ArmDeadline();

  // Hands a taken operation to a backend in the caller's thread. On error no callback ever comes.
  Status SubmitTo(int index, uint64_t generation);
  // May be submitted once more after CSB_E_NO_SANDBOX.
  bool CanRetry() const { return attempts_ < 2 && !output_seen_; }

  // A taken life-cycle operation: a cancel goes to this call.
  void Follow(std::shared_ptr<Call> call);

  // Ends a taken operation: done comes on the completion thread.
  void Finish(Outcome outcome);
  // Takes and ends it, unless it has ended.
  void FinishIfQueued(Outcome outcome);
  // Sends `text` on stream DATA as credit allows, then done with {}.
  void FinishWithData(std::string text);
  void ForwardEvent(uint32_t event, std::string_view json);

  // From the frontend, and from a drain.
  void Cancel(csb_status cause);
  bool CancelIfQueued(csb_status cause);
  void CancelForShutdown();

 private:
  enum class Phase : uint8_t { kQueued, kTaken, kEnded };

  static csb_status CallInput(csb_op* op, csb_str data, uint32_t eof);
  static void CallCredit(csb_op* op, uint64_t bytes);
  static void CallCancel(csb_op* op, csb_status cause);
  static void CallClose(csb_op* op);

  static void OnOutput(void* ctx, uint32_t stream, csb_str data);
  static void OnEvent(void* ctx, uint32_t event, csb_str json);
  static void OnInputCredit(void* ctx, uint64_t bytes);
  static void OnDone(void* ctx, const csb_outcome* outcome);
  static const csb_events kEvents;

  // On the thread that may call the frontend. `self` is the caller's hold, the last that is let go
  // of before the core is told that the operation is over.
  static void DeliverAndEnd(std::shared_ptr<Operation> self, const csb_outcome& outcome);
  void Deliver(const csb_outcome& outcome);
  void SendData();

  const std::shared_ptr<Core> core_;
  const uint32_t flags_;
  const csb_events* const events_;
  void* const ctx_;

  mutable std::mutex mutex_;
  Phase phase_ = Phase::kQueued;
  csb_status cancel_ = CSB_OK;
  bool shutdown_ = false;
  uint64_t credit_;  // all that came; a second attempt gets it whole, since the first sent nothing
  Attempt* current_ = nullptr;
  std::shared_ptr<Call> call_;
  Timers::Id deadline_timer_ = 0;
  bool local_data_ = false;

  int attempts_ = 0;
  bool output_seen_ = false;
  Attempt attempt_[2];
  std::string data_;  // completion thread only
  size_t data_sent_ = 0;

  std::shared_ptr<Operation> frontend_hold_, service_hold_;

  friend struct Service::Core;
};

}  // namespace csb::host
