// SPDX-License-Identifier: Apache-2.0
//
// rate_limit.h: a token bucket for each user: `per_minute` requests at once, refilled evenly.
//
//   RateLimiter limiter(100);
//   if (double wait = limiter.Take(user, now_ns)) Answer(429, RetryAfter(wait));
//
// Remembers a bounded number of users, those seen last: whoever is forgotten starts with a full
// bucket. Thread-safe.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace csb::http {

class RateLimiter {
 public:
  explicit RateLimiter(int64_t per_minute, size_t max_users = 65536)
      : per_minute_(static_cast<double>(per_minute)), max_users_(max_users) {}

  // 0: go on. Else the seconds until the next request of this user would pass. `now_ns` is any
  // monotonic clock. A limit of 0 lets everything pass.
  double Take(std::string_view user, uint64_t now_ns);
  size_t remembered() const;

 private:
  struct Bucket {
    std::string user;
    double tokens;
    uint64_t at_ns;
  };

  const double per_minute_;
  const size_t max_users_;
  mutable std::mutex mutex_;
  std::list<Bucket> recent_;                                                 // most recent first
  std::unordered_map<std::string_view, std::list<Bucket>::iterator> index_;  // keys live in recent_
};

}  // namespace csb::http
