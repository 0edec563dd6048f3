// SPDX-License-Identifier: Apache-2.0
//
// registry.h: what is known of backends by number, so that a callback that comes when the
// backend's instance is long gone can still be named and counted. One per process, never
// destroyed; holds a few words per backend that was ever made.
//
//   const uint32_t id = Registry::Get().Add("bubblewrap", services);
//   Registry::Get().Report(id, "on_done came twice (rule 12)");
//
// Each backend has a lane: one thread for calls into it that can wait for a thread (life cycle, probes,
// cancel, most closes). A plugin that blocks in one of those holds up its own users, nobody else's.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/host.h"
#include "host/base/workers.h"
#include "host/plugin/host_services.h"

namespace csb::host::guard {

// Operations of one backend instance that are accepted and not yet closed.
class OpenCount {
 public:
  void Add() { count_.fetch_add(1); }
  void Drop();
  uint64_t value() const { return count_.load(); }
  bool WaitZero(std::chrono::milliseconds limit);

 private:
  std::atomic<uint64_t> count_{0};
  std::atomic<bool> waited_{false};
  std::mutex mutex_;
  std::condition_variable zero_;
};

class Registry {
 public:
  static constexpr uint32_t kMax = (1u << 14) - 1;

  static Registry& Get();

  // From 1; 0 when kMax instances were made: there is no lane for another.
  uint32_t Add(std::string name, HostServices& services);
  // The services are not used any more when this has returned.
  void Remove(uint32_t id);

  OpenCount& count(uint32_t id) { return At(id).open; }
  uint64_t open(uint32_t id) { return At(id).open.value(); }
  bool WaitIdle(uint32_t id, std::chrono::milliseconds limit) { return At(id).open.WaitZero(limit); }
  const std::string& name(uint32_t id) { return At(id).name; }

  // Logs a breach of the contract and counts it, if the backend's services are still there. Of
  // many only some are logged (the first 20, then each 2^n-th): a bad plugin fills no disk.
  void Report(uint32_t id, std::string_view what);
  // Runs work on a worker; false: the services are gone or stopped.
  bool Post(uint32_t id, std::function<void()> work);
  // Runs work in the backend's lane, in the order of asking; false: the lane was closed.
  bool PostLane(uint32_t id, std::function<void()> work);
  // The same, and waits for it. false: it has not ended within `limit`; it may still run, later.
  bool RunInLane(uint32_t id, std::chrono::milliseconds limit, std::function<void()> work);
  // Ends the lane's thread. One that is held up by the plugin is left behind: false.
  bool CloseLane(uint32_t id, std::chrono::milliseconds limit);
  // Runs f if the backend's instance is still there, which then stays until f has returned.
  template <typename F>
  void IfThere(uint32_t id, F&& f) {
    Entry& entry = At(id);
    const std::lock_guard lock(entry.mutex);
    if (entry.services != nullptr) f();
  }

 private:
  struct Entry {
    std::string name;
    OpenCount open;
    std::mutex mutex;
    HostServices* services = nullptr;  // under mutex
    uint64_t reports = 0;              // under mutex
    std::unique_ptr<Workers> lane;     // under mutex
  };
  Registry();
  Entry& At(uint32_t id);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Entry>> entries_;  // never shrinks; sized once, so At needs no lock
  std::atomic<uint32_t> used_{0};
};

}  // namespace csb::host::guard
