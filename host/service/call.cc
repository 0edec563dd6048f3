// SPDX-License-Identifier: Apache-2.0
#include "host/service/call.h"

namespace csb::host {

const csb_events Call::kEvents = {
    sizeof(csb_events), 0, &Call::OnOutput, &Call::OnEvent, &Call::OnInputCredit, &Call::OnDone};

uint64_t NowNs() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Timers::Clock::now().time_since_epoch()).count());
}

std::shared_ptr<Call> Call::Start(BackendInstance& backend, Timers& timers, CallRequest request,
                                  GuardTimes times, std::function<void(Outcome)> done,
                                  std::function<void()> closed) {
  auto call = std::make_shared<Call>();
  call->closed_.run = std::move(closed);
  call->request_ = std::move(request);
  call->done_ = std::move(done);
  call->self_ = call;
  const CallRequest& r = call->request_;
  csb_request raw{};
  raw.struct_size = sizeof raw;
  raw.op = r.op;
  raw.user = Str(r.user);
  raw.request_id = Str(r.request_id);
  raw.payload = Str(r.payload);
  if (r.deadline.count() > 0)
    raw.deadline_ns = NowNs() + static_cast<uint64_t>(r.deadline.count()) * 1'000'000;
  if (auto s = call->attempt_.Submit(backend, timers, raw, kEvents, call.get(), times); !s) {
    call->self_.reset();
    auto refused = std::move(call->done_);
    refused(Outcome::Of(s.error()));
  }
  return call;
}

void Call::OnEvent(void* ctx, uint32_t event, csb_str json) {
  auto* call = static_cast<Call*>(ctx);
  if (call->request_.on_event) call->request_.on_event(event, View(json));
}

void Call::OnDone(void* ctx, const csb_outcome* outcome) {
  auto self = std::move(static_cast<Call*>(ctx)->self_);
  auto done = std::move(self->done_);
  self->request_.on_event = nullptr;
  done(Outcome::Of(*outcome));
}

}  // namespace csb::host
