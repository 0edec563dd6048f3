// SPDX-License-Identifier: Apache-2.0
//
// call.h: an operation that the service itself asks of a backend (probe, list, create, stop …)
// and whose result it wants as a whole.
//
//   auto call = Call::Start(backend, timers, {.op = CSB_OP_STATUS, .user = "alice"}, guard,
//                           [](Outcome o) { … });
//   call->Cancel(CSB_E_CANCELLED);   // [any]
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "host/service/attempt.h"

namespace csb::host {

struct Outcome {
  csb_status code = CSB_OK;
  bool retryable = false;
  std::string result;  // JSON, when code is CSB_OK
  std::string message, hint;

  static Outcome Of(const Error& e) { return {e.code, e.retryable, "", e.message, e.hint}; }
  static Outcome Of(const csb_outcome& o) {
    return {o.code, o.retryable != 0, std::string(View(o.result)), std::string(View(o.message)),
            std::string(View(o.hint))};
  }
  Error ToError() const { return {code, message, hint, retryable}; }
};

struct CallRequest {
  uint32_t op = 0;
  std::string user, request_id, payload;
  std::chrono::milliseconds deadline{0};                                // from now
  std::function<void(uint32_t event, std::string_view json)> on_event;  // may be empty
};

class Call : public std::enable_shared_from_this<Call> {
 public:
  // `closed` comes last of all, when the handle was given up too.
  // Submits in the backend's lane: life cycle and probes can wait for a thread, and a plugin that blocks
  // holds up nobody but its own users. done comes exactly once, on a thread of the backend's. The call
  // keeps itself alive until then.
  static std::shared_ptr<Call> Start(BackendInstance& backend, Timers& timers, CallRequest request,
                                     GuardTimes times, std::function<void(Outcome)> done,
                                     std::function<void()> closed = {});
  void Cancel(csb_status cause) { attempt_.Cancel(cause); }

 private:
  struct AtEnd {
    ~AtEnd() {
      if (run) run();
    }
    std::function<void()> run;
  };

  void Submit(BackendInstance& backend, Timers& timers, GuardTimes times);
  void Refused(const Error& error);
  static void OnOutput(void*, uint32_t, csb_str) {}
  static void OnEvent(void* ctx, uint32_t event, csb_str json);
  static void OnInputCredit(void*, uint64_t) {}
  static void OnDone(void* ctx, const csb_outcome* outcome);
  static const csb_events kEvents;

  AtEnd closed_;  // first, so that it is destroyed after attempt_
  CallRequest request_;
  std::function<void(Outcome)> done_;
  std::shared_ptr<Call> self_;  // until done
  Attempt attempt_;
};

// CLOCK_MONOTONIC, nanoseconds: the scale of deadlines.
uint64_t NowNs();

}  // namespace csb::host
