// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/testing/recorder.h"

#include <algorithm>

#include "clara_sandbox/cpp/detail/op_state.h"

namespace csb::testing {

// Around each callback: rules that hold for all of them.
class Recorder::Entered {
 public:
  Entered(Recorder& recorder, const char* name) : recorder_(recorder) {
    const bool overlaps = recorder.entered_.fetch_add(1) != 0;
    const std::lock_guard lock(recorder.mutex_);
    if (overlaps) recorder.violations_.push_back(std::string(name) + " overlaps another callback");
    if (recorder.done_) recorder.violations_.push_back(std::string(name) + " after on_done");
    if (detail::InsideCall::Of(&recorder))
      recorder.violations_.push_back(std::string(name) + " from inside a call on the operation");
  }
  ~Entered() { recorder_.entered_.fetch_sub(1); }

 private:
  Recorder& recorder_;
};

template <typename Submit>
void Recorder::Start(const Request& request, const csb_op_calls* calls, Submit submit) {
  static constexpr csb_events kEvents{sizeof(csb_events), 0, &OnOutput, &OnEvent, &OnInputCredit, &OnDone};
  calls_ = calls;
  allowed_ = request.output_credit;
  const csb_request abi = request.view().ToAbi();
  csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
  csb_status code = CSB_OK;
  {
    const detail::InsideCall mark(this);
    code = submit(&abi, &kEvents, this, &op_, &error);
  }
  const std::lock_guard lock(mutex_);
  if (code == CSB_OK) {
    if (op_ == nullptr) violations_.push_back("submit returned CSB_OK without a handle");
    return;
  }
  if (done_) violations_.push_back("on_done although submit failed");
  op_ = nullptr;
  done_ = true;
  code_ = code;
  const Error e = Error::From(code, error);
  retryable_ = e.retryable;
  message_ = e.message;
  hint_ = e.hint;
}

Recorder::Recorder(const csb_backend_v1* table, csb_backend* self, const Request& request, Credit credit)
    : credit_mode_(credit) {
  Start(request, table->calls,
        [&](const csb_request* r, const csb_events* e, void* ctx, csb_op** out, csb_error* error) {
          return table->submit(self, r, e, ctx, out, error);
        });
}

Recorder::Recorder(const csb_service_v1* service, const Request& request, Credit credit)
    : credit_mode_(credit) {
  Start(request, service->calls,
        [&](const csb_request* r, const csb_events* e, void* ctx, csb_op** out, csb_error* error) {
          return service->submit(service->self, r, e, ctx, out, error);
        });
}

Recorder::~Recorder() {
  if (op_ == nullptr) return;
  if (!done()) Cancel();
  // A callee that ignores the cancel would use this object after its end: better to hang here.
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_ && entered_ == 0; });
  }
  calls_->close(op_);
}

bool Recorder::Wait(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return done_; });
}

bool Recorder::WaitOutput(uint32_t stream, const std::string& part, std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  const auto found = [&] { return output_[stream].find(part) != std::string::npos; };
  changed_.wait_for(lock, limit, [&] { return done_ || found(); });
  return found();
}

bool Recorder::Send(std::string_view input, bool eof) {
  do {
    uint64_t room = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return done_ || input.empty() || input_credit_ > input_sent_; });
      if (done_) return false;
      room = std::min<uint64_t>(input_credit_ - input_sent_, input.size());
      input_sent_ += room;
    }
    const bool last = eof && room == input.size();
    const detail::InsideCall mark(this);
    calls_->input(op_, Str(input.substr(0, room)), last ? 1 : 0);
    input.remove_prefix(room);
  } while (!input.empty());
  return true;
}

void Recorder::Give(uint64_t bytes) {
  allowed_ += bytes;
  const detail::InsideCall mark(this);
  calls_->credit(op_, bytes);
}

void Recorder::Cancel(csb_status cause) {
  const detail::InsideCall mark(this);
  calls_->cancel(op_, cause);
}

void Recorder::OnOutput(void* ctx, uint32_t stream, csb_str data) {
  auto& self = *static_cast<Recorder*>(ctx);
  const Entered entered(self, "on_output");
  {
    const std::lock_guard lock(self.mutex_);
    self.output_[stream].append(View(data));
    if (data.size > self.allowed_) self.violations_.push_back("output beyond its credit");
    self.allowed_ -= std::min<uint64_t>(data.size, self.allowed_);
  }
  self.changed_.notify_all();
  if (self.credit_mode_ == Credit::kAutomatic) self.Give(data.size);
}

void Recorder::OnEvent(void* ctx, uint32_t event, csb_str json) {
  auto& self = *static_cast<Recorder*>(ctx);
  const Entered entered(self, "on_event");
  const std::lock_guard lock(self.mutex_);
  self.events_.emplace_back(event, View(json));
  self.changed_.notify_all();
}

void Recorder::OnInputCredit(void* ctx, uint64_t bytes) {
  auto& self = *static_cast<Recorder*>(ctx);
  const Entered entered(self, "on_input_credit");
  const std::lock_guard lock(self.mutex_);
  self.input_credit_ += bytes;
  self.changed_.notify_all();
}

void Recorder::OnDone(void* ctx, const csb_outcome* outcome) {
  auto& self = *static_cast<Recorder*>(ctx);
  {
    const Entered entered(self, "on_done");
    const std::lock_guard lock(self.mutex_);
    self.code_ = outcome->code;
    self.retryable_ = outcome->retryable != 0;
    self.result_ = View(outcome->result);
    self.message_ = View(outcome->message);
    self.hint_ = View(outcome->hint);
  }
  const std::lock_guard lock(self.mutex_);  // the last touch: Wait may return, and this object end
  self.done_ = true;
  self.changed_.notify_all();
}

bool Recorder::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}
csb_status Recorder::code() const {
  const std::lock_guard lock(mutex_);
  return code_;
}
bool Recorder::retryable() const {
  const std::lock_guard lock(mutex_);
  return retryable_;
}
std::string Recorder::result() const {
  const std::lock_guard lock(mutex_);
  return result_;
}
std::string Recorder::message() const {
  const std::lock_guard lock(mutex_);
  return message_;
}
std::string Recorder::hint() const {
  const std::lock_guard lock(mutex_);
  return hint_;
}
std::string Recorder::output(uint32_t stream) const {
  const std::lock_guard lock(mutex_);
  const auto it = output_.find(stream);
  return it == output_.end() ? std::string() : it->second;
}
std::vector<std::pair<uint32_t, std::string>> Recorder::events() const {
  const std::lock_guard lock(mutex_);
  return events_;
}
uint64_t Recorder::input_credit() const {
  const std::lock_guard lock(mutex_);
  return input_credit_;
}
std::vector<std::string> Recorder::violations() const {
  const std::lock_guard lock(mutex_);
  return violations_;
}

}  // namespace csb::testing
