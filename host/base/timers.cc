// SPDX-License-Identifier: Apache-2.0
//
// An id is a slot of entries_ and the slot's generation, so that a stale id finds nothing. The
// heap keeps cancelled ids until they come up; when they outnumber the pending ones the heap is
// rebuilt, so it stays proportional to what is pending. The thread is woken only for a time
// earlier than the one it sleeps for: a deadline that is set and cancelled costs no wake-up.
#include "host/base/timers.h"

#include <algorithm>
#include <utility>

#include "host/base/threads.h"

namespace csb::host {

namespace {

constexpr uint32_t Index(Timers::Id id) { return static_cast<uint32_t>(id); }
constexpr uint32_t Generation(Timers::Id id) { return static_cast<uint32_t>(id >> 32); }

// std heaps keep the greatest in front.
constexpr auto kLater = [](const auto& a, const auto& b) { return a.when > b.when; };

}  // namespace

Timers::Timers() {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] {
    NameThread("csb-timers");
    Run();
  });
}

Timers::~Timers() { Stop(); }

Timers::Id Timers::At(Clock::time_point when, std::function<void()> fn) {
  bool wake = false;
  Id id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return 0;
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(entries_.size()));
      entries_.emplace_back();
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    Entry& entry = entries_[index];
    if (++entry.generation == 0) entry.generation = 1;
    entry.fn = std::move(fn);
    entry.pending = true;
    id = static_cast<Id>(entry.generation) << 32 | index;
    heap_.push_back({when, id});
    std::push_heap(heap_.begin(), heap_.end(), kLater);
    ++pending_;
    if (when < asleep_until_) {
      asleep_until_ = when;
      wake = true;
    }
  }
  if (wake) changed_.notify_one();
  return id;
}

bool Timers::Cancel(Id id) {
  std::function<void()> fn;  // destroyed outside the lock
  const std::lock_guard lock(mutex_);
  Entry* entry = Find(id);
  if (entry == nullptr) return false;
  fn = Release(*entry, Index(id));
  if (heap_.size() > 2 * pending_ + 64) Compact();
  return true;
}

void Timers::Stop() {
  std::vector<Entry> dropped;
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    heap_.clear();
    free_.clear();
    pending_ = 0;
    dropped.swap(entries_);
    thread.swap(thread_);
  }
  changed_.notify_one();
  if (thread.joinable()) thread.join();
}

size_t Timers::pending() const {
  const std::lock_guard lock(mutex_);
  return pending_;
}

Timers::Entry* Timers::Find(Id id) {
  if (id == 0 || Index(id) >= entries_.size()) return nullptr;
  Entry& entry = entries_[Index(id)];
  return entry.pending && entry.generation == Generation(id) ? &entry : nullptr;
}

std::function<void()> Timers::Release(Entry& entry, uint32_t index) {
  entry.pending = false;
  free_.push_back(index);
  --pending_;
  return std::exchange(entry.fn, nullptr);
}

void Timers::Compact() {
  std::erase_if(heap_, [this](const Due& due) { return Find(due.id) == nullptr; });
  std::make_heap(heap_.begin(), heap_.end(), kLater);
}

void Timers::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (heap_.empty()) {
      asleep_until_ = Clock::time_point::max();
      changed_.wait(lock);
      continue;
    }
    const Due due = heap_.front();
    Entry* entry = Find(due.id);
    if (entry != nullptr && due.when > Clock::now()) {
      asleep_until_ = due.when;
      changed_.wait_until(lock, due.when);
      continue;
    }
    std::pop_heap(heap_.begin(), heap_.end(), kLater);
    heap_.pop_back();
    if (entry == nullptr) continue;
    std::function<void()> fn = Release(*entry, Index(due.id));
    asleep_until_ = Clock::time_point::min();  // awake: looks at the heap again by itself
    lock.unlock();
    fn();
    fn = nullptr;
    lock.lock();
  }
}

}  // namespace csb::host
