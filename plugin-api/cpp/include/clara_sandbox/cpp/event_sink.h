// SPDX-License-Identifier: Apache-2.0
//
// event_sink.h: how a backend answers an operation, and what its submitter may ask of it. An
// EventSink keeps the rules of operation.h for its user:
//
//   size_t taken = sink.Output(CSB_STREAM_STDOUT, bytes);  // never beyond the credit
//   sink.Done(R"({"exit_code":0})");                       // once and last; later calls do nothing
//
// - Any thread may call at any time; callbacks to the submitter never overlap and keep their order.
// - A call from inside Submit, Input, Credit or Cancel of the same operation is allowed: the
//   event is delivered from a worker of the host right after, since the ABI forbids callbacks
//   from inside a call.
// - When the last copy is gone and nobody called Done or Fail, the operation fails with
//   CSB_E_INTERNAL: a lost operation never hangs its caller.
// Copies are cheap (one atomic increment) and all mean the same operation.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "clara_sandbox/cpp/detail/op_state.h"
#include "clara_sandbox/cpp/operation.h"
#include "clara_sandbox/cpp/result.h"

namespace csb {

class EventSink {
 public:
  EventSink() = default;
  explicit EventSink(std::shared_ptr<detail::OpState> state) : state_(std::move(state)) { Acquire(); }
  EventSink(const EventSink& other) : state_(other.state_) { Acquire(); }
  EventSink(EventSink&& other) noexcept : state_(std::move(other.state_)) {}
  EventSink& operator=(EventSink other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~EventSink() { Release(); }
  explicit operator bool() const { return state_ != nullptr; }

  // Bytes that Output would take now. Grows when the submitter gives credit: Operation::Credit
  // is called then.
  uint64_t credit() const { return state_->credit(); }

  // Sends as many bytes as there is credit for and returns how many; the rest is the caller's
  // to keep. After the end everything is taken and dropped.
  size_t Output(uint32_t stream, std::string_view data) const { return state_->Output(stream, data); }
  // event: CSB_EVENT_*; takes no credit.
  void Event(uint32_t event, std::string_view json) const { state_->Event(event, json); }
  // The submitter may send that many more bytes of input.
  void InputCredit(uint64_t bytes) const { state_->InputCredit(bytes); }

  // The end. result: a JSON object. May run the submitter's close, and so release the
  // Operation: keep what you need alive (shared_from_this) or return right after.
  void Done(std::string_view result = "{}") const { state_->Done(result); }
  void Fail(const Error& error) const { state_->Fail(error); }
  // Done or Fail was called.
  bool finished() const { return state_->finished(); }

 private:
  void Acquire() {
    if (state_ != nullptr) state_->AddSink();
  }
  void Release() {
    if (state_ != nullptr) state_->DropSink();
  }

  std::shared_ptr<detail::OpState> state_;
};

}  // namespace csb
