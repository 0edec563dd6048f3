// SPDX-License-Identifier: Apache-2.0
#include "host/plugin/guard/registry.h"

#include <bit>
#include <utility>

namespace csb::host::guard {

void OpenCount::Drop() {
  if (count_.fetch_sub(1) != 1 || !waited_.load()) return;
  const std::lock_guard lock(mutex_);
  zero_.notify_all();
}

bool OpenCount::WaitZero(std::chrono::milliseconds limit) {
  waited_.store(true);
  std::unique_lock lock(mutex_);
  return zero_.wait_for(lock, limit, [this] { return count_.load() == 0; });
}

Registry& Registry::Get() {
  static auto* registry = new Registry;
  return *registry;
}

Registry::Registry() {
  entries_.resize(kMax + 1);
  entries_[0] = std::make_unique<Entry>();
  entries_[0]->name = "(unknown)";
}

Registry::Entry& Registry::At(uint32_t id) { return *entries_[id <= used_.load() ? id : 0]; }

uint32_t Registry::Add(std::string name, HostServices& services) {
  auto entry = std::make_unique<Entry>();
  entry->name = std::move(name);
  entry->services = &services;
  entry->lane = std::make_unique<Workers>(1);
  const std::lock_guard lock(mutex_);
  const uint32_t id = used_.load() + 1;
  if (id > kMax) return 0;
  entries_[id] = std::move(entry);
  used_.store(id);
  return id;
}

void Registry::Remove(uint32_t id) {
  Entry& entry = At(id);
  const std::lock_guard lock(entry.mutex);
  entry.services = nullptr;
}

void Registry::Report(uint32_t id, std::string_view what) {
  Entry& entry = At(id);
  const std::lock_guard lock(entry.mutex);
  if (entry.services == nullptr) return;
  const uint64_t n = ++entry.reports;
  if (n <= 20 || std::has_single_bit(n))
    entry.services->Log(CSB_LOG_ERROR, entry.name, "plugin " + entry.name + " " + std::string(what));
  entry.services->Count("csb_plugin_violations_total", "{\"plugin\":\"" + entry.name + "\"}", 1);
}

bool Registry::Post(uint32_t id, std::function<void()> work) {
  Entry& entry = At(id);
  const std::lock_guard lock(entry.mutex);
  return entry.services != nullptr && entry.services->Post(std::move(work));
}

bool Registry::PostLane(uint32_t id, std::function<void()> work) {
  Entry& entry = At(id);
  const std::lock_guard lock(entry.mutex);
  return entry.lane != nullptr && entry.lane->Post(std::move(work));
}

bool Registry::RunInLane(uint32_t id, std::chrono::milliseconds limit, std::function<void()> work) {
  struct Ended {
    std::mutex mutex;
    std::condition_variable changed;
    bool ended = false;
  };
  const auto state = std::make_shared<Ended>();
  if (!PostLane(id, [state, work = std::move(work)] {
        work();
        const std::lock_guard lock(state->mutex);
        state->ended = true;
        state->changed.notify_all();
      }))
    return false;
  std::unique_lock lock(state->mutex);
  return state->changed.wait_for(lock, limit, [&] { return state->ended; });
}

bool Registry::CloseLane(uint32_t id, std::chrono::milliseconds limit) {
  // Reachable for ever, so that leak checkers see no leak.
  static auto* left_behind = new std::vector<std::unique_ptr<Workers>>;
  const bool idle = RunInLane(id, limit, [] {});
  std::unique_ptr<Workers> lane;
  Entry& entry = At(id);
  {
    const std::lock_guard lock(entry.mutex);
    lane = std::move(entry.lane);
  }
  if (idle || lane == nullptr) return true;
  const std::lock_guard lock(mutex_);
  left_behind->push_back(std::move(lane));
  return false;
}

}  // namespace csb::host::guard
