// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/testing/fake_host.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace csb::testing {

FakeHost::FakeHost(Options options, int workers)
    : table_{sizeof(csb_host), 0, this, &Log, &Config, &Now, &Count, &Post, &GetExtension},
      config_(std::move(options)) {
  for (int i = 0; i < workers; ++i) workers_.emplace_back([this] { Work(); });
}

FakeHost::~FakeHost() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void FakeHost::Set(const std::string& key, std::string value) {
  const std::lock_guard lock(mutex_);
  config_[key] = std::move(value);
}

void FakeHost::RefuseWork() {
  const std::lock_guard lock(mutex_);
  refuse_ = true;
}

void FakeHost::HoldWork() {
  const std::lock_guard lock(mutex_);
  hold_ = true;
}

bool FakeHost::HoldsWork() {
  std::unique_lock lock(mutex_);
  return ready_.wait_for(lock, std::chrono::seconds(10), [this] { return hold_ && !queue_.empty(); });
}

std::vector<FakeHost::LogLine> FakeHost::logs() const {
  const std::lock_guard lock(mutex_);
  return logs_;
}

bool FakeHost::Logged(std::string_view part) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(logs_.begin(), logs_.end(),
                     [&](const LogLine& line) { return line.message.find(part) != std::string::npos; });
}

double FakeHost::counter(const std::string& metric) const {
  const std::lock_guard lock(mutex_);
  const auto it = counters_.find(metric);
  return it == counters_.end() ? 0 : it->second;
}

void FakeHost::Log(const csb_host* host, int32_t level, csb_str message) {
  FakeHost& self = Of(host);
  const std::lock_guard lock(self.mutex_);
  self.logs_.push_back({level, std::string(View(message))});
}

csb_str FakeHost::Config(const csb_host* host, const char* key) {
  FakeHost& self = Of(host);
  const std::lock_guard lock(self.mutex_);
  const auto it = self.config_.find(key);
  return it == self.config_.end() ? csb_str{nullptr, 0} : Str(it->second);
}

uint64_t FakeHost::Now(const csb_host*) {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

void FakeHost::Count(const csb_host* host, csb_str metric, csb_str, double value) {
  FakeHost& self = Of(host);
  const std::lock_guard lock(self.mutex_);
  self.counters_[std::string(View(metric))] += value;
}

csb_status FakeHost::Post(const csb_host* host, void (*fn)(void*), void* ctx) {
  FakeHost& self = Of(host);
  {
    const std::lock_guard lock(self.mutex_);
    if (self.refuse_ || self.stopping_ || self.workers_.empty()) return CSB_E_UNAVAILABLE;
    self.queue_.emplace_back([fn, ctx] { fn(ctx); });
  }
  self.ready_.notify_all();
  return CSB_OK;
}

const void* FakeHost::GetExtension(const csb_host*, const char*) { return nullptr; }

void FakeHost::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return stopping_ || (!hold_ && !queue_.empty()); });
    if (queue_.empty()) return;
    const auto work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

}  // namespace csb::testing
