// SPDX-License-Identifier: Apache-2.0
#include "host/service/call.h"

#include <mutex>

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
  // The lane takes it or, when the plugin holds the lane up, the timer does.
  struct Waiting {
    std::shared_ptr<Call> Take() {
      std::lock_guard lock(mutex);
      return std::move(call);
    }
    std::mutex mutex;
    std::shared_ptr<Call> call;
  };
  const auto waiting = std::make_shared<Waiting>();
  waiting->call = call;
  const auto give_up = timers.At(Timers::Clock::now() + times.lane_wait, [waiting, name = backend.name(),
                                                                          &services = backend.services()] {
    auto late = waiting->Take();
    if (!late) return;
    const auto refuse = [late = std::move(late), name] {
      late->Refused({CSB_E_UNAVAILABLE, "plugin " + name + " hangs in a call (rule 21)",
                     "this is a fault of the plugin; see docs/plugin-contract.md", true});
    };
    if (!services.Post(refuse)) refuse();
  });
  const bool posted = backend.PostInLane([waiting, &backend, &timers, times, give_up] {
    const auto next = waiting->Take();
    if (!next) return;
    timers.Cancel(give_up);
    next->Submit(backend, timers, times);
  });
  if (!posted && waiting->Take() != nullptr)
    call->Refused({CSB_E_UNAVAILABLE, "backend " + backend.name() + " has ended", "", true});
  return call;
}

void Call::Submit(BackendInstance& backend, Timers& timers, GuardTimes times) {
  const CallRequest& r = request_;
  csb_request raw{};
  raw.struct_size = sizeof raw;
  raw.op = r.op;
  raw.user = Str(r.user);
  raw.request_id = Str(r.request_id);
  raw.payload = Str(r.payload);
  if (r.deadline.count() > 0)
    raw.deadline_ns = NowNs() + static_cast<uint64_t>(r.deadline.count()) * 1'000'000;
  if (auto s = attempt_.Submit(backend, timers, raw, kEvents, this, times); !s) Refused(s.error());
}

void Call::Refused(const Error& error) {
  const auto self = std::move(self_);
  auto refused = std::move(done_);
  refused(Outcome::Of(error));
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
