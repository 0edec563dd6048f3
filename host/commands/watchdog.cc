// SPDX-License-Identifier: Apache-2.0
#include "host/commands/watchdog.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/operation.h"

namespace csb::host {

// Kept alive by the watchdog, by a timer that is set, and by an operation under way.
class Watchdog::State : public std::enable_shared_from_this<State> {
 public:
  State(const ServiceManager& manager, const csb_service_v1& service, Timers& timers)
      : manager_(manager),
        service_(service),
        timers_(timers),
        interval_(manager.watchdog().value_or(std::chrono::microseconds(0)) / 2) {}

  void Tick() {
    std::lock_guard lock(mutex_);
    if (stopping_) {
      manager_.NotifyAtOnce("WATCHDOG=1");
    } else if (!asked_) {
      Ask();
    }
    timers_.At(Timers::Clock::now() + interval_, [self = shared_from_this()] { self->Tick(); });
  }

  void Stopping() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    answered_.wait_for(lock, std::chrono::seconds(1), [this] { return !asked_; });
    Close();
  }

 private:
  // With the lock.
  void Ask() {
    static constexpr csb_events kEvents = {
        sizeof(csb_events),
        0,
        [](void*, uint32_t, csb_str) {},
        [](void*, uint32_t, csb_str) {},
        [](void*, uint64_t) {},
        [](void* self, const csb_outcome* outcome) { static_cast<State*>(self)->Answered(*outcome); },
    };
    Close();
    const csb_request request = {sizeof(csb_request), CSB_OP_HEALTH, 0, 0, {}, {}, Str("{}"), 0, 1 << 20};
    csb_error error{};
    error.struct_size = sizeof error;
    asked_ = shared_from_this();
    if (service_.submit(service_.self, &request, &kEvents, this, &handle_, &error) != CSB_OK) asked_.reset();
  }

  void Answered(const csb_outcome& outcome) {
    std::shared_ptr<State> keep;
    if (outcome.code == CSB_OK)
      manager_.NotifyAtOnce("WATCHDOG=1\nSTATUS=" + StatusLine(View(outcome.result)));
    std::lock_guard lock(mutex_);
    keep = std::move(asked_);
    answered_.notify_all();
  }

  // Of an answered operation; of another one the handle stays, and the service with it.
  void Close() {
    if (handle_ != nullptr && !asked_) service_.calls->close(std::exchange(handle_, nullptr));
  }

  const ServiceManager manager_;
  const csb_service_v1& service_;
  Timers& timers_;
  const std::chrono::microseconds interval_;
  std::mutex mutex_;
  std::condition_variable answered_;
  csb_op* handle_ = nullptr;
  std::shared_ptr<State> asked_;  // this, while the service owes an answer
  bool stopping_ = false;
};

Watchdog::Watchdog(const ServiceManager& manager, const csb_service_v1& service, Timers& timers) {
  if (!manager.watchdog()) return;
  state_ = std::make_shared<State>(manager, service, timers);
  state_->Tick();
}

Watchdog::~Watchdog() { Stopping(); }

void Watchdog::Stopping() {
  if (state_) state_->Stopping();
}

std::string StatusLine(std::string_view health) {
  const auto document = json::ParseObject(health);
  if (!document) return "";
  std::string line(json::GetString(*document, "status").value_or(""));
  const json::Value* backends = json::Find(*document, "backends");
  if (backends == nullptr || !backends->IsObject()) return line;
  for (const auto& [name, backend] : backends->GetObject()) {
    line.append("; ").append(name.GetString(), name.GetStringLength()).append(": ");
    const int64_t sandboxes = json::GetInt(backend, "sandboxes").value_or(0);
    if (json::GetBool(backend, "available").value_or(false))
      line += std::to_string(sandboxes) + (sandboxes == 1 ? " sandbox" : " sandboxes");
    else
      line += "unavailable";
  }
  return line;
}

}  // namespace csb::host
