// SPDX-License-Identifier: Apache-2.0
//
// blocking_backend.h: a backend whose code may block. Each operation runs on a worker of the
// host; all plugins share eight of those, so an operation that mostly waits is better written
// with Backend.
//
//   class MyBackend : public csb::BlockingBackend {
//     using BlockingBackend::BlockingBackend;
//    public:
//     static csb::Result<std::unique_ptr<MyBackend>> Create(csb::HostRef host) {
//       return std::make_unique<MyBackend>(host);
//     }
//     csb::Result<std::string> Run(const csb::Request& request, Context& context) override {
//       if (request.op != CSB_OP_SHELL) return csb::Unsupported(request.op);
//       if (auto s = context.Output(CSB_STREAM_STDOUT, "hello\n"); !s) return s.error();
//       return std::string(R"({"exit_code":0,"cause":"exit"})");
//     }
//   };
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "clara_sandbox/cpp/backend.h"

namespace csb {

class BlockingBackend : public Backend {
 public:
  class Context;

  explicit BlockingBackend(HostRef host) : host_(host) {}

  // On a worker; several run at once. Returns the result (a JSON object) or what failed.
  // Exceptions become CSB_E_INTERNAL. Ends soon after context.cancelled().
  virtual Result<std::string> Run(const Request& request, Context& context) = 0;

  Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) override;

 protected:
  HostRef host() const { return host_; }

 private:
  HostRef host_;
};

// What Run may do with the operation it runs. The thread of Run only.
class BlockingBackend::Context : public Operation {
 public:
  Context(const RequestView& request, EventSink sink)
      : sink_(std::move(sink)), deadline_ns_(request.deadline_ns), eof_(!request.has_input()) {}

  // Sends all of data, waiting for credit; CSB_E_CANCELLED or CSB_E_DEADLINE when told to end.
  Status Output(uint32_t stream, std::string_view data) {
    while (!data.empty()) {
      {
        std::unique_lock lock(mutex_);
        if (!WaitLocked(lock, [&] { return sink_.credit() > 0; })) return Cause();
      }
      data.remove_prefix(sink_.Output(stream, data));
    }
    return {};
  }
  void Event(uint32_t event, std::string_view json) { sink_.Event(event, json); }

  // Waits for input and copies up to `size` bytes; 0 at its end, and when the request has no input.
  Result<size_t> ReadInput(char* to, size_t size) {
    if (size == 0) return size_t{0};
    uint64_t grant = 0;
    {
      const std::lock_guard lock(mutex_);
      if (input_.size() == consumed_ && !eof_ && granted_ == 0) granted_ = grant = kInputWindow;
    }
    if (grant > 0) sink_.InputCredit(grant);
    std::unique_lock lock(mutex_);
    if (!WaitLocked(lock, [&] { return consumed_ < input_.size() || eof_; })) return Cause();
    const size_t n = std::min(size, input_.size() - consumed_);
    if (n > 0) std::memcpy(to, input_.data() + consumed_, n);
    consumed_ += n;
    if (consumed_ == input_.size()) {
      input_.clear();
      consumed_ = 0;
    }
    return n;
  }

  // Told to end, or the deadline has passed.
  bool cancelled() const {
    const std::lock_guard lock(mutex_);
    return cause_ != CSB_OK || Expired();
  }
  // Waits for that; false when `time` passed first.
  bool WaitCancelled(std::chrono::nanoseconds time) {
    std::unique_lock lock(mutex_);
    const auto until = std::min(std::chrono::steady_clock::now() + time, Deadline());
    changed_.wait_until(lock, until, [&] { return cause_ != CSB_OK; });
    return cause_ != CSB_OK || Expired();
  }
  // The error to end with when cancelled.
  Error Cause() const {
    const bool deadline = cause_ == CSB_E_DEADLINE || (cause_ == CSB_OK && Expired());
    return {deadline ? CSB_E_DEADLINE : CSB_E_CANCELLED,
            deadline ? "the operation's deadline passed" : "the operation was cancelled", "", false};
  }
  uint64_t deadline_ns() const { return deadline_ns_; }  // CLOCK_MONOTONIC; 0: none

  // ---- The submitter's side; not for Run.
  Status Input(std::string_view data, bool eof) override {
    const std::lock_guard lock(mutex_);
    if (data.size() > granted_) return csb::Error{CSB_E_INVALID, "input beyond its credit", "", false};
    granted_ -= data.size();
    input_.append(data);
    eof_ = eof_ || eof;
    changed_.notify_all();
    return {};
  }
  void Credit(uint64_t) override { Wake(CSB_OK); }
  void Cancel(csb_status cause) override { Wake(cause == CSB_OK ? CSB_E_CANCELLED : cause); }

 private:
  friend class BlockingBackend;
  static constexpr uint64_t kInputWindow = 256 * 1024;

  void Wake(csb_status cause) {
    const std::lock_guard lock(mutex_);
    if (cause_ == CSB_OK) cause_ = cause;
    changed_.notify_all();
  }
  std::chrono::steady_clock::time_point Deadline() const {
    // A day at most: far times overflow in the conversions of wait_until.
    const auto day = std::chrono::steady_clock::now() + std::chrono::hours(24);
    if (deadline_ns_ == 0 || deadline_ns_ > static_cast<uint64_t>(INT64_MAX)) return day;
    return std::min(day, std::chrono::steady_clock::time_point(
                             std::chrono::nanoseconds(static_cast<int64_t>(deadline_ns_))));
  }
  bool Expired() const {
    return deadline_ns_ != 0 && deadline_ns_ <= static_cast<uint64_t>(INT64_MAX) &&
           std::chrono::steady_clock::now().time_since_epoch().count() >= static_cast<int64_t>(deadline_ns_);
  }
  // false: told to end.
  template <typename Ready>
  bool WaitLocked(std::unique_lock<std::mutex>& lock, Ready ready) {
    while (cause_ == CSB_OK && !Expired()) {
      if (ready()) return true;
      changed_.wait_until(lock, Deadline());
    }
    return false;
  }

  EventSink sink_;
  const uint64_t deadline_ns_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  csb_status cause_ = CSB_OK;
  std::string input_;
  size_t consumed_ = 0;
  uint64_t granted_ = 0;
  bool eof_;
};

inline Result<std::shared_ptr<Operation>> BlockingBackend::Submit(const RequestView& request,
                                                                  EventSink sink) {
  const auto context = std::make_shared<Context>(request, std::move(sink));
  // Nothing of this object is touched after Done or Fail: the host may destroy it then.
  const Status posted = host_.Post([this, context, request = Request::Copy(request)] {
    const EventSink sink = context->sink_;
    csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
    std::string result;
    const csb_status code = detail::Guard("run", &error, [&]() -> Status {
      auto answer = Run(request, *context);
      if (!answer) return std::move(answer).error();
      result = *std::move(answer);
      return {};
    });
    if (code == CSB_OK)
      sink.Done(result);
    else
      sink.Fail(csb::Error::From(code, error));
  });
  if (!posted) return posted.error();
  return std::shared_ptr<Operation>(context);
}

}  // namespace csb
