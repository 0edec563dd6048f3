// SPDX-License-Identifier: Apache-2.0
#include "host/service/breaker.h"

namespace csb::host {

std::optional<std::string> Breaker::OpenReason() const {
  if (!IsOpen()) return std::nullopt;
  std::lock_guard lock(mutex_);
  return reason_;
}

bool Breaker::Failed() {
  if (failures_.load(std::memory_order_relaxed) < limit_) failures_.fetch_add(1, std::memory_order_relaxed);
  return failures_.load(std::memory_order_relaxed) >= limit_ && !IsOpen();
}

bool Breaker::Open(std::string_view reason) {
  std::lock_guard lock(mutex_);
  reason_ = reason;
  if (open_.load(std::memory_order_relaxed)) return false;
  openings_.fetch_add(1, std::memory_order_acq_rel);
  open_.store(true, std::memory_order_release);
  return true;
}

bool Breaker::Close() {
  std::lock_guard lock(mutex_);
  failures_.store(0, std::memory_order_relaxed);
  return open_.exchange(false, std::memory_order_acq_rel);
}

}  // namespace csb::host
