// SPDX-License-Identifier: Apache-2.0
//
// timers.h: functions that run at a time; one thread sleeps until the earliest.
//
//   Timers timers;
//   Timers::Id id = timers.At(Timers::Clock::now() + 30s, [] { … });
//   timers.Cancel(id);
//
// Made for deadlines, which nearly always are cancelled: At and Cancel are O(log n), wake the
// thread only when the new time is earlier than what it sleeps for, and allocate nothing in
// the steady state for a function object of up to 16 trivially copyable bytes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace csb::host {

class Timers {
 public:
  using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC, the scale of csb_host.now_ns
  using Id = uint64_t;                      // never 0, never used twice

  Timers();
  ~Timers();
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;

  // Runs fn once on the timer thread at `when`, or soon if that has passed. fn must not throw
  // and must not block: hand long work to Workers. 0 after Stop. Thread-safe, also from fn.
  Id At(Clock::time_point when, std::function<void()> fn);
  // true: fn was pending and will not run. false: it runs, ran, was cancelled, or id is 0.
  // Thread-safe, does not wait.
  bool Cancel(Id id);
  // Drops what is pending, joins. Idempotent; not from a timer.
  void Stop();

  size_t pending() const;

 private:
  struct Due {
    Clock::time_point when;
    Id id;
  };
  struct Entry {
    std::function<void()> fn;
    uint32_t generation = 0;
    bool pending = false;
  };

  void Run();
  Entry* Find(Id id);
  std::function<void()> Release(Entry& entry, uint32_t index);
  void Compact();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Due> heap_;  // earliest first; cancelled ones stay until they come up or are compacted
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  size_t pending_ = 0;
  Clock::time_point asleep_until_ = Clock::time_point::max();
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace csb::host
