// SPDX-License-Identifier: Apache-2.0
#include "host/commands/ask.h"

#include <condition_variable>
#include <mutex>
#include <optional>

#include "host/plugin/guarded_operation.h"

namespace csb::host {
namespace {

class Answer {
 public:
  static const csb_events& Events() {
    static constexpr csb_events kEvents = {
        sizeof(csb_events),
        0,
        [](void*, uint32_t, csb_str) {},
        [](void*, uint32_t, csb_str) {},
        [](void*, uint64_t) {},
        [](void* ctx, const csb_outcome* outcome) { static_cast<Answer*>(ctx)->Done(*outcome); },
    };
    return kEvents;
  }

  Result<std::string> Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return result_.has_value(); });
    return *std::move(result_);
  }

 private:
  void Done(const csb_outcome& outcome) {
    std::lock_guard lock(mutex_);
    if (outcome.code == CSB_OK)
      result_ = std::string(View(outcome.result));
    else
      result_ = Error{outcome.code, std::string(View(outcome.message)), std::string(View(outcome.hint)),
                      outcome.retryable != 0};
    changed_.notify_one();  // under the lock: this object may go as soon as it is released
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Result<std::string>> result_;
};

csb_request RequestOf(uint32_t op, std::string_view user, std::string_view payload,
                      std::chrono::milliseconds timeout) {
  return {sizeof(csb_request), op, 0, 0, Str(user), {}, Str(payload), DeadlineAfter(timeout),
          uint64_t{1} << 40};
}

}  // namespace

uint64_t DeadlineAfter(std::chrono::nanoseconds after) {
  return static_cast<uint64_t>((std::chrono::steady_clock::now().time_since_epoch() + after).count());
}

Result<std::string> Ask(const csb_service_v1& service, uint32_t op, std::string_view user,
                        std::string_view payload, std::chrono::milliseconds timeout) {
  Answer answer;
  const csb_request request = RequestOf(op, user, payload, timeout);
  csb_error error{};
  error.struct_size = sizeof error;
  csb_op* handle = nullptr;
  const csb_status status =
      service.submit(service.self, &request, &Answer::Events(), &answer, &handle, &error);
  if (status != CSB_OK) return Error::From(status, error);
  auto result = answer.Wait();
  service.calls->close(handle);
  return result;
}

Result<std::string> Ask(BackendInstance& backend, Timers& timers, uint32_t op, std::string_view user,
                        std::string_view payload, std::chrono::milliseconds timeout) {
  Answer answer;
  GuardedOperation operation;
  const csb_request request = RequestOf(op, user, payload, timeout);
  auto status = GuardedOperation::Submit(backend, timers, request, Answer::Events(), &answer, &operation);
  if (!status) return status.error();
  return answer.Wait();
}

}  // namespace csb::host
