// SPDX-License-Identifier: Apache-2.0
//
// breaker.h: keeps a dead backend from costing each request a timeout.
//
//   Breaker breaker(3);
//   if (auto reason = breaker.OpenReason()) return Unavailable(*reason);
//   if (breaker.Failed()) Probe();             // enough of them: is it the backend?
//   breaker.Open("connection refused");        // the probe says so …
//   breaker.Close();                           // … or it is well: failures are counted anew
//
// Closed: failures in a row are counted, a success starts over. At the limit the owner asks a probe
// and opens it, or not. It stays open until a probe (the half-open trial, made by the owner after a
// while) closes it. Thread-safe; IsOpen is one atomic load, for the way of every request.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace csb::host {

class Breaker {
 public:
  explicit Breaker(int limit) : limit_(limit) {}

  bool IsOpen() const { return open_.load(std::memory_order_acquire); }
  std::optional<std::string> OpenReason() const;
  uint64_t openings() const { return openings_.load(std::memory_order_acquire); }  // so far
  // true: the limit is reached and the breaker is closed still; so it is with every further failure.
  bool Failed();
  void Succeeded() {
    if (failures_.load(std::memory_order_relaxed) != 0) failures_.store(0, std::memory_order_relaxed);
  }
  // true: it was closed.
  bool Open(std::string_view reason);
  // true: it was open.
  bool Close();

 private:
  const int limit_;
  std::atomic<int> failures_{0};
  std::atomic<bool> open_{false};
  std::atomic<uint64_t> openings_{0};
  mutable std::mutex mutex_;
  std::string reason_;
};

}  // namespace csb::host
