// SPDX-License-Identifier: Apache-2.0
//
// fake_services.h: HostServices for tests: options from a map, log lines kept, two workers.
//
//   FakeServices services;
//   auto backend = BackendInstance::Create(plugin, services);
//   EXPECT_TRUE(services.Logged("broke"));
#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/base/workers.h"
#include "host/plugin/host_services.h"

namespace csb::host {

class FakeServices : public HostServices {
 public:
  explicit FakeServices(std::map<std::string, std::string, std::less<>> options = {})
      : options_(std::move(options)) {}

  void Log(int32_t level, std::string_view plugin, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::to_string(level) + " " + std::string(plugin) + ": " + std::string(message));
    changed_.notify_all();
  }
  std::optional<std::string_view> Config(std::string_view key) override {
    const auto it = options_.find(key);
    if (it == options_.end()) return std::nullopt;
    return it->second;
  }
  void Count(std::string_view metric, std::string_view, double value) override {
    const std::lock_guard lock(mutex_);
    counters_[std::string(metric)] += value;
  }
  bool Post(std::function<void()> work) override { return workers_.Post(std::move(work)); }

  Workers& workers() { return workers_; }
  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  // Some line contains `part`; waits up to ten seconds for it.
  bool Logged(const std::string& part) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] {
      return std::any_of(lines_.begin(), lines_.end(),
                         [&](const std::string& line) { return line.find(part) != std::string::npos; });
    });
  }
  double counter(const std::string& metric) const {
    const std::lock_guard lock(mutex_);
    const auto it = counters_.find(metric);
    return it == counters_.end() ? 0 : it->second;
  }

 private:
  const std::map<std::string, std::string, std::less<>> options_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::map<std::string, double> counters_;
  Workers workers_{2};  // last: its threads use the rest
};

}  // namespace csb::host
