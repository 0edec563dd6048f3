// SPDX-License-Identifier: Apache-2.0
//
// attempt.h: one operation at a backend, whose Credit and Cancel may come from other threads
// while it is still being submitted: they are kept and handed on once it is.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>

#include "host/plugin/guarded_operation.h"

namespace csb::host {

class Attempt {
 public:
  // At most once. Callbacks may begin before it returns. On error none ever comes.
  Status Submit(BackendInstance& backend, Timers& timers, const csb_request& request,
                const csb_events& events, void* ctx, GuardTimes times) {
    if (auto s = GuardedOperation::Submit(backend, timers, request, events, ctx, &guard_, times); !s)
      return s;
    mutex_.lock();
    started_ = true;
    const uint64_t credit = std::exchange(credit_, 0);
    const csb_status cancel = std::exchange(cancel_, CSB_OK);
    mutex_.unlock();
    if (credit > 0) guard_.Credit(credit);
    if (cancel != CSB_OK) guard_.Cancel(cancel);
    return {};
  }
  // Only after on_input_credit, so the handle exists.
  csb_status Input(csb_str data, bool eof) { return guard_.Input(data, eof); }
  void Credit(uint64_t bytes) {
    {
      std::lock_guard lock(mutex_);
      if (!started_) {
        credit_ += bytes;
        return;
      }
    }
    guard_.Credit(bytes);
  }
  void Cancel(csb_status cause) {
    {
      std::lock_guard lock(mutex_);
      if (!started_) {
        cancel_ = cause;
        return;
      }
    }
    guard_.Cancel(cause);
  }

 private:
  std::mutex mutex_;
  bool started_ = false;
  uint64_t credit_ = 0;
  csb_status cancel_ = CSB_OK;
  GuardedOperation guard_;  // closes itself; the owner is freed after on_done only
};

}  // namespace csb::host
