// SPDX-License-Identifier: Apache-2.0
//
// service_client.h: submits operations at the service, for frontends and for the host's own
// commands.
//
//   class Answer : public csb::CallHandler {
//     void OnOutput(csb::Call& call, uint32_t stream, std::string_view data) override {
//       Queue(stream, data);            // copy: data is borrowed
//     }                                 // later, when sent: call.Credit(data.size())
//     void OnDone(csb::Call&, const csb::OutcomeView& outcome) override { Finish(outcome); }
//   };
//   auto call = client.Submit(request.view(), std::make_shared<Answer>());
//   if (!call) return Reply(call.error());         // no callback ever comes
//   (*call)->Cancel(CSB_E_CANCELLED);              // the peer is gone
//
// The operation goes on when the caller's Call pointer is dropped: to end it, cancel it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "clara_sandbox/cpp/request.h"
#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/service.h"

namespace csb {

class Call;

// Hears the events of one call. They come one at a time, on any thread, possibly before Submit
// has returned, never from inside a member of Call. They must neither block nor throw. OnDone is the last.
class CallHandler {
 public:
  virtual ~CallHandler() = default;
  virtual void OnOutput(Call& call, uint32_t stream, std::string_view data) = 0;
  virtual void OnEvent(Call& /*call*/, uint32_t /*event*/, std::string_view /*json*/) {}
  virtual void OnInputCredit(Call& /*call*/, uint64_t /*bytes*/) {}
  virtual void OnDone(Call& call, const OutcomeView& outcome) = 0;
};

// The same from functions; an empty one ignores its event, except that output without a
// function is thrown away and its credit given back.
class FunctionHandler;

// An operation under way. Made by ServiceClient::Submit; keeps itself and its handler alive
// until OnDone has returned.
class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(const csb_op_calls* calls, std::shared_ptr<CallHandler> handler)
      : calls_(calls), handler_(std::move(handler)) {}
  ~Call() {
    if (op_ != nullptr) calls_->close(op_);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Bytes of input, within what OnInputCredit granted. One thread at a time.
  csb_status Input(std::string_view data, bool eof) { return calls_->input(op_, Str(data), eof ? 1 : 0); }
  void Credit(uint64_t bytes) { calls_->credit(op_, bytes); }  // any thread
  // CSB_E_CANCELLED or CSB_E_DEADLINE; any thread, any number of times, harmless after the end.
  void Cancel(csb_status cause = CSB_E_CANCELLED) { calls_->cancel(op_, cause); }

 private:
  friend class ServiceClient;

  static Call& Of(void* ctx) { return *static_cast<Call*>(ctx); }
  static void OnOutput(void* ctx, uint32_t stream, csb_str data) noexcept {
    Of(ctx).handler_->OnOutput(Of(ctx), stream, View(data));
  }
  static void OnEvent(void* ctx, uint32_t event, csb_str json) noexcept {
    Of(ctx).handler_->OnEvent(Of(ctx), event, View(json));
  }
  static void OnInputCredit(void* ctx, uint64_t bytes) noexcept {
    Of(ctx).handler_->OnInputCredit(Of(ctx), bytes);
  }
  static void OnDone(void* ctx, const csb_outcome* outcome) noexcept {
    Call& call = Of(ctx);
    call.handler_->OnDone(call, OutcomeView::From(*outcome));
    call.handler_.reset();
    // Submit keeps its own reference while it runs, so this is not the last one before op_ is set.
    const std::shared_ptr<Call> self = std::move(call.self_);
  }
  static constexpr csb_events kEvents{sizeof(csb_events), 0, &OnOutput, &OnEvent, &OnInputCredit, &OnDone};

  const csb_op_calls* calls_;
  csb_op* op_ = nullptr;
  std::shared_ptr<CallHandler> handler_;
  std::shared_ptr<Call> self_;
};

class ServiceClient {
 public:
  ServiceClient() = default;
  explicit ServiceClient(const csb_service_v1* service) : service_(service) {}
  explicit operator bool() const { return service_ != nullptr; }

  // [any] Starts an operation; `request` is borrowed for the call. On error the handler hears nothing.
  Result<std::shared_ptr<Call>> Submit(const RequestView& request,
                                       std::shared_ptr<CallHandler> handler) const {
    auto call = std::make_shared<Call>(service_->calls, std::move(handler));
    call->self_ = call;
    const csb_request abi = request.ToAbi();
    csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
    const csb_status code =
        service_->submit(service_->self, &abi, &Call::kEvents, call.get(), &call->op_, &error);
    if (code != CSB_OK) {
      call->op_ = nullptr;
      call->self_.reset();
      return Error::From(code, error);
    }
    return call;
  }
  Result<std::shared_ptr<Call>> Submit(const Request& request, std::shared_ptr<CallHandler> handler) const {
    return Submit(request.view(), std::move(handler));
  }

 private:
  const csb_service_v1* service_ = nullptr;
};

class FunctionHandler : public CallHandler {
 public:
  std::function<void(Call&, uint32_t stream, std::string_view data)> on_output;
  std::function<void(Call&, uint32_t event, std::string_view json)> on_event;
  std::function<void(Call&, uint64_t bytes)> on_input_credit;
  std::function<void(Call&, const OutcomeView& outcome)> on_done;

  void OnOutput(Call& call, uint32_t stream, std::string_view data) override {
    if (on_output)
      on_output(call, stream, data);
    else
      call.Credit(data.size());
  }
  void OnEvent(Call& call, uint32_t event, std::string_view json) override {
    if (on_event) on_event(call, event, json);
  }
  void OnInputCredit(Call& call, uint64_t bytes) override {
    if (on_input_credit) on_input_credit(call, bytes);
  }
  void OnDone(Call& call, const OutcomeView& outcome) override {
    if (on_done) on_done(call, outcome);
  }
};

}  // namespace csb
