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

}  // namespace csb::host::guard
