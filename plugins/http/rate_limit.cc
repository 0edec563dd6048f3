// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/rate_limit.h"

#include <algorithm>

namespace csb::http {

double RateLimiter::Take(std::string_view user, uint64_t now_ns) {
  if (per_minute_ <= 0) return 0;
  const double per_second = per_minute_ / 60;
  std::lock_guard lock(mutex_);
  auto found = index_.find(user);
  if (found == index_.end()) {
    if (recent_.size() >= max_users_) {
      index_.erase(recent_.back().user);
      recent_.pop_back();
    }
    recent_.push_front({std::string(user), per_minute_, now_ns});
    found = index_.emplace(recent_.front().user, recent_.begin()).first;
  } else {
    recent_.splice(recent_.begin(), recent_, found->second);
  }
  Bucket& bucket = *found->second;
  if (now_ns > bucket.at_ns) {
    bucket.tokens =
        std::min(per_minute_, bucket.tokens + static_cast<double>(now_ns - bucket.at_ns) * 1e-9 * per_second);
    bucket.at_ns = now_ns;
  }
  if (bucket.tokens >= 1) {
    bucket.tokens -= 1;
    return 0;
  }
  return (1 - bucket.tokens) / per_second;
}

size_t RateLimiter::remembered() const {
  std::lock_guard lock(mutex_);
  return recent_.size();
}

}  // namespace csb::http
