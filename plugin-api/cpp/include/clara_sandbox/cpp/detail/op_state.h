// SPDX-License-Identifier: Apache-2.0
//
// op_state.h: the state behind a csb_op made by the C++ wrapper; authors use EventSink.
//
// Events: a thread that finds nobody emitting becomes the emitter and calls the submitter
// without holding the lock. Other threads, and calls from inside a callback, leave their event
// in `queue_`, which the emitter drains before it stops. An event from inside a call on the
// operation is queued too; a job posted to the host then becomes the emitter.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/operation.h"
#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/operation.h"

namespace csb::detail {

// Marks that this thread is inside a call on an operation; nests.
class InsideCall {
 public:
  explicit InsideCall(const void* op) : op_(op), previous_(top_) { top_ = this; }
  ~InsideCall() { top_ = previous_; }
  InsideCall(const InsideCall&) = delete;
  InsideCall& operator=(const InsideCall&) = delete;
  static bool Of(const void* op) {
    for (const InsideCall* i = top_; i != nullptr; i = i->previous_)
      if (i->op_ == op) return true;
    return false;
  }

 private:
  const void* op_;
  const InsideCall* previous_;
  static inline constinit thread_local const InsideCall* top_ = nullptr;
};

class OpState : public std::enable_shared_from_this<OpState> {
 public:
  OpState(const csb_host* host, const csb_events* events, void* ctx, uint64_t credit)
      : host_(host), events_(events), ctx_(ctx), credit_(credit) {}

  csb_op* handle() { return reinterpret_cast<csb_op*>(this); }
  static OpState* Of(csb_op* op) { return reinterpret_cast<OpState*>(op); }

  // ---- What EventSink does. Any thread.

  uint64_t credit() const { return credit_.load(std::memory_order_acquire); }
  bool finished() const { return finished_.load(std::memory_order_acquire); }

  size_t Output(uint32_t stream, std::string_view data) {
    uint64_t have = credit();
    uint64_t take = 0;
    do {
      if (finished()) return data.size();
      take = have < data.size() ? have : data.size();
      if (take == 0) return 0;
    } while (!credit_.compare_exchange_weak(have, have - take, std::memory_order_acq_rel));
    Emit({.kind = kOutput, .id = stream, .data = data.substr(0, take)});
    return take;
  }
  void Event(uint32_t event, std::string_view json) { Emit({.kind = kEvent, .id = event, .data = json}); }
  void InputCredit(uint64_t bytes) { Emit({.kind = kInputCredit, .bytes = bytes}); }
  void Done(std::string_view result) { Emit({.kind = kDone, .id = CSB_OK, .data = result}); }
  void Fail(const Error& e) {
    Emit({.kind = kDone,
          .id = static_cast<uint32_t>(e.code == CSB_OK ? CSB_E_INTERNAL : e.code),
          .bytes = e.retryable ? 1u : 0u,
          .message = e.message,
          .hint = e.hint});
  }

  void AddSink() { sinks_.fetch_add(1, std::memory_order_relaxed); }
  void DropSink() {
    if (sinks_.fetch_sub(1, std::memory_order_acq_rel) == 1 && !finished())
      Fail({CSB_E_INTERNAL, "the backend let go of the operation without ending it",
            "this is a fault of the plugin; please report it", false});
  }

  // ---- What the trampoline of submit does.

  void Open() { self_ = shared_from_this(); }  // until Close
  // Submit succeeded: passes on the calls that came while it ran, in order.
  void Start(std::shared_ptr<Operation> op) {
    for (;;) {
      std::vector<Asked> asked;
      {
        const std::lock_guard lock(mutex_);
        if (asked_.empty()) {
          started_ = true;
          if (!closed_) op_ = std::move(op);
          if (queue_.empty() || emitting_) return;
          flush_posted_ = true;
          break;
        }
        asked.swap(asked_);
      }
      for (const Asked& a : asked)
        if (op != nullptr && !finished()) (void)Forward(*op, a.what, a.value, a.data);
    }
    PostFlush();
  }
  // Submit failed: no callback comes.
  void Reject() {
    std::shared_ptr<OpState> self;
    const std::lock_guard lock(mutex_);
    finished_.store(true, std::memory_order_release);
    queue_.clear();
    self.swap(self_);
  }

  // ---- What csb_op_calls do. As tagged there.

  csb_status Input(std::string_view data, bool eof) { return Ask(kAskInput, eof ? 1 : 0, data); }
  void Credit(uint64_t bytes) {
    uint64_t have = credit();
    while (!credit_.compare_exchange_weak(have, have + bytes < have ? UINT64_MAX : have + bytes,
                                          std::memory_order_acq_rel)) {
    }
    (void)Ask(kAskCredit, bytes, {});
  }
  void Cancel(csb_status cause) { (void)Ask(kAskCancel, static_cast<uint64_t>(cause), {}); }
  void Close() {
    std::shared_ptr<OpState> self;  // may be the last: released after the lock
    std::shared_ptr<Operation> op;
    const std::lock_guard lock(mutex_);
    closed_ = true;
    self.swap(self_);
    op.swap(op_);
    if (emitting_) retired_.swap(op);  // called from inside on_done: its own code is on the stack
  }

  const csb_host* host() const { return host_; }

 private:
  enum Kind : uint8_t { kOutput, kEvent, kInputCredit, kDone };
  template <typename Text>
  struct Item {
    Kind kind{};
    uint32_t id = 0;     // stream, event id, status code
    uint64_t bytes = 0;  // of input credit; kDone: retryable
    Text data{}, message{}, hint{};
  };
  enum What : uint8_t { kAskInput, kAskCredit, kAskCancel };
  struct Asked {
    What what;
    uint64_t value;
    std::string data;
  };

  void Emit(const Item<std::string_view>& item) {
    const std::shared_ptr<OpState> keep = shared_from_this();  // on_done may close
    enum { kNothing, kDeliver, kDrain, kFlush } next = kNothing;
    {
      const std::lock_guard lock(mutex_);
      if (finished()) return;
      const bool may_emit = !emitting_ && !InsideCall::Of(this) && (queue_.empty() || started_);
      if (may_emit && queue_.empty()) {
        next = kDeliver;
      } else {
        queue_.push_back({item.kind, item.id, item.bytes, std::string(item.data), std::string(item.message),
                          std::string(item.hint)});
        if (may_emit)
          next = kDrain;
        else if (!emitting_ && started_ && !flush_posted_)
          next = kFlush;  // else: its emitter or Start sees it
      }
      emitting_ = emitting_ || may_emit;
      flush_posted_ = flush_posted_ || next == kFlush;
      if (item.kind == kDone) finished_.store(true, std::memory_order_release);
    }
    if (next == kDeliver) Deliver(item);
    if (next == kDeliver || next == kDrain) Drain();
    if (next == kFlush) PostFlush();
  }

  // The emitter: sends what is queued until nothing is.
  void Drain() {
    for (;;) {
      std::vector<Item<std::string>> items;
      std::shared_ptr<Operation> retired;
      {
        const std::lock_guard lock(mutex_);
        if (queue_.empty()) {
          emitting_ = false;
          retired.swap(retired_);
          return;  // unlocks, then releases `retired`
        }
        items.swap(queue_);
      }
      for (const auto& i : items) Deliver({i.kind, i.id, i.bytes, i.data, i.message, i.hint});
    }
  }

  void PostFlush() {
    const auto flush = [keep = shared_from_this()] {
      {
        const std::lock_guard lock(keep->mutex_);
        keep->flush_posted_ = false;
        if (keep->emitting_ || keep->queue_.empty()) return;
        keep->emitting_ = true;
      }
      keep->Drain();
    };
    // A host whose workers have stopped still waits for this operation's end.
    if (!HostRef(host_).Post(flush)) std::thread(flush).detach();
  }

  void Deliver(const Item<std::string_view>& i) {
    switch (i.kind) {
      case kOutput:
        return events_->on_output(ctx_, i.id, Str(i.data));
      case kEvent:
        return events_->on_event(ctx_, i.id, Str(i.data));
      case kInputCredit:
        return events_->on_input_credit(ctx_, i.bytes);
      case kDone: {
        const csb_outcome outcome{sizeof(csb_outcome),
                                  static_cast<csb_status>(i.id),
                                  static_cast<uint32_t>(i.bytes),
                                  0,
                                  Str(i.data),
                                  Str(i.message),
                                  Str(i.hint)};
        return events_->on_done(ctx_, &outcome);
      }
    }
  }

  csb_status Ask(What what, uint64_t value, std::string_view data) {
    std::shared_ptr<Operation> op;
    {
      const std::lock_guard lock(mutex_);
      if (finished()) return CSB_OK;
      if (!started_) {
        asked_.push_back({what, value, std::string(data)});
        return CSB_OK;
      }
      op = op_;
    }
    if (op == nullptr) return CSB_OK;
    const InsideCall mark(this);
    return Forward(*op, what, value, data);
  }

  static csb_status Forward(Operation& op, What what, uint64_t value, std::string_view data) {
    switch (what) {
      case kAskInput: {
        const Status status = op.Input(data, value != 0);
        return status ? CSB_OK : status.error().code;
      }
      case kAskCredit:
        op.Credit(value);
        return CSB_OK;
      case kAskCancel:
        op.Cancel(static_cast<csb_status>(value));
        return CSB_OK;
    }
    return CSB_E_INTERNAL;
  }

  const csb_host* const host_;
  const csb_events* const events_;
  void* const ctx_;
  std::atomic<uint64_t> credit_;
  std::atomic<bool> finished_{false};  // Done was sent or is queued
  std::atomic<uint32_t> sinks_{0};

  std::mutex mutex_;  // guards what follows; never held while calling anybody
  std::vector<Item<std::string>> queue_;
  std::vector<Asked> asked_;  // before Start
  bool emitting_ = false;
  bool flush_posted_ = false;
  bool started_ = false;
  bool closed_ = false;
  std::shared_ptr<Operation> op_;
  std::shared_ptr<Operation> retired_;
  std::shared_ptr<OpState> self_;
};

}  // namespace csb::detail
