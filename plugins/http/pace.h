// SPDX-License-Identifier: Apache-2.0
//
// pace.h: how long a slow transfer is waited for: it may fall `grace` behind a lowest rate. A client
// that sends a byte now and then runs out of time; a slow but steady one does not.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace csb::http {

class Pace {
 public:
  using Clock = std::chrono::steady_clock;

  Pace(double grace_seconds, uint64_t bytes_per_second)
      : grace_(Seconds(grace_seconds)), rate_(static_cast<double>(bytes_per_second)) {}

  bool running() const { return running_; }
  // Without effect while it runs.
  void Start(Clock::time_point now) {
    if (running_) return;
    running_ = true;
    deadline_ = now + grace_;
  }
  // `now + grace` is as far as a fast sender can get ahead.
  void Moved(uint64_t bytes, Clock::time_point now) {
    if (!running_) return;
    const auto later = deadline_ + Seconds(static_cast<double>(bytes) / rate_);
    deadline_ = later < now + grace_ ? later : now + grace_;
  }
  void Stop() { running_ = false; }
  std::optional<Clock::time_point> deadline() const {
    return running_ ? std::optional(deadline_) : std::nullopt;
  }

 private:
  static Clock::duration Seconds(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  const Clock::duration grace_;
  const double rate_;
  bool running_ = false;
  Clock::time_point deadline_;
};

}  // namespace csb::http
