// SPDX-License-Identifier: Apache-2.0
//
// remote_operation.h: what the operations have in common: a Caller that they are the steps of, a sink, and
// how they are cancelled.
//
//   class Read : public RemoteOperation {
//    public:
//     void Start(std::shared_ptr<Links> links, const RequestView& request) { Begin<Read>(std::move(links),
//     request); } Result<Mapped> Build(const Peer& peer);                  // the request, for each attempt
//     void OnDone(Result<HttpResponse> answer, Link* link);    // the link is null when none was found
//     bool used() const;                                       // some of the answer was passed on
//   };
#pragma once

#include <memory>
#include <utility>

#include "clara_sandbox/cpp/event_sink.h"
#include "clara_sandbox/cpp/operation.h"
#include "clara_sandbox/cpp/request.h"
#include "plugins/remote/caller.h"
#include "plugins/remote/outbox.h"

namespace csb::remote {

class RemoteOperation : public Operation, public std::enable_shared_from_this<RemoteOperation> {
 public:
  // too_late: what is said when the deadline ends it; static texts.
  RemoteOperation(const RequestView& request, EventSink sink, const char* too_late, const char* hint)
      : request_(Request::Copy(request)), sink_(std::move(sink)), too_late_(too_late), hint_(hint) {}

  void Cancel(csb_status cause) override {
    // The sink first, so that it is this that is told; that may be the end of this object.
    const auto caller = caller_;
    const bool late = cause == CSB_E_DEADLINE;
    sink_.Fail({cause, late ? too_late_ : "cancelled", late ? hint_ : "", false});
    caller->Cancel();
  }

 protected:
  // `T` is what derives from this. Nothing is sent before Start or Send of the caller.
  template <typename T>
  void Begin(std::shared_ptr<Links> links, const RequestView& request) {
    const auto self = Self<T>();
    caller_ = Caller::Make(
        std::move(links), request,
        {.build = [self](const Peer& peer) { return self->Build(peer); },
         .done = [self](Result<HttpResponse> answer, Link* link) { self->OnDone(std::move(answer), link); },
         .used = [self] { return self->used(); }});
  }
  template <typename T>
  std::shared_ptr<T> Self() {
    return std::static_pointer_cast<T>(shared_from_this());
  }

  const Request request_;
  const EventSink sink_;
  std::shared_ptr<Caller> caller_;

 private:
  const char* const too_late_;
  const char* const hint_;
};

// With output that goes as there is credit for it. out_ is the reactor's thread's.
class OutputOperation : public RemoteOperation {
 public:
  OutputOperation(const RequestView& request, const EventSink& sink, const char* too_late, const char* hint)
      : RemoteOperation(request, sink, too_late, hint), out_(sink) {}

  void Credit(uint64_t) override {
    caller_->reactor().Post([self = Self<OutputOperation>()] {
      self->out_.Flush();
      if (self->out_.empty()) self->caller_->Resume();
    });
  }

 protected:
  Outbox out_;
};

}  // namespace csb::remote
