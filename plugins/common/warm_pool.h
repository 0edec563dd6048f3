// SPDX-License-Identifier: Apache-2.0
//
// warm_pool.h: sandboxes that run already, with an empty workspace and nobody's name, for users who come for
// the first time. What one consists of, and how it is made, is the backend's; when is told here. One belongs
// to the host process that made it and is given out at most once; what a host leaves behind when it is killed
// is removed by the next one's sweep, never given out.
//
//   class Pool : public WarmPool<Pooled> { … Make, Discard, Room, StaleNow … ~Pool() { Stop(); } };
//   if (auto ready = pool.TakeReady()) …     // the caller writes down whose it is, or discards it
//   pool.Refill();                           // a worker: one at a time
//
// Pooled: has a member `sandbox`, a std::shared_ptr<EngineSandbox>. Thread-safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "plugins/common/engine_sandbox.h"

namespace csb {

template <typename Pooled>
class WarmPool {
 public:
  // The option outlives it.
  explicit WarmPool(const int64_t& wanted) : wanted_(wanted) {}
  virtual ~WarmPool() = default;
  WarmPool(const WarmPool&) = delete;
  WarmPool& operator=(const WarmPool&) = delete;

  // Removes it and its workspace. False: some of it may be there still; a sweep finds it.
  virtual bool Discard(const Pooled& pooled) = 0;

  // Gives none out any more, waits for a refill that is under way, removes what is left. Blocks. Called by
  // the destructor of what derives from this.
  void Stop() {
    std::deque<std::unique_ptr<Pooled>> left;
    {
      std::unique_lock lock(mutex_);
      stopping_ = true;
      idle_.notify_all();
      idle_.wait(lock, [this] { return !filling_; });
      left.swap(ready_);
    }
    DiscardAll(left);
  }

  // One that was taken for somebody who has a sandbox already.
  void PutBack(std::unique_ptr<Pooled> pooled) {
    {
      const std::lock_guard lock(mutex_);
      if (!stopping_ && pooled->sandbox->channel()) {
        ready_.push_front(std::move(pooled));
        return;
      }
    }
    Discard(*pooled);
  }

  // Makes what is missing, while no create of a user is under way and the count allows; blocks.
  void Refill() {
    {
      const std::lock_guard lock(mutex_);
      if (filling_ || stopping_ || !wanted()) return;
      filling_ = true;
    }
    // Whatever happens, nobody waits for a refill that is over.
    struct Over {
      WarmPool& pool;
      ~Over() {
        const std::lock_guard lock(pool.mutex_);
        pool.filling_ = pool.making_ = false;
        pool.idle_.notify_all();
      }
    } over{*this};
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        // Users first: a create that waits for the engine gets it alone.
        idle_.wait(lock, [this] { return busy_ == 0 || stopping_; });
        if (stopping_ || ready_.size() >= static_cast<size_t>(wanted_)) return;
        making_ = true;
      }
      auto made = Room(0).value_or(false) ? Make() : nullptr;
      const std::lock_guard lock(mutex_);
      making_ = false;
      idle_.notify_all();
      if (made == nullptr) return;
      ready_.push_back(std::move(made));
      Announce(*ready_.back());
    }
  }

  // The image's name means something else now, or one of them ended: what does not fit any more is removed.
  void Check() {
    const std::function<bool(const Pooled&)> stale = StaleNow();
    std::vector<std::unique_ptr<Pooled>> gone;
    {
      const std::lock_guard lock(mutex_);
      for (auto it = ready_.begin(); it != ready_.end();) {
        if ((*it)->sandbox->channel() && !stale(**it)) {
          ++it;
          continue;
        }
        gone.push_back(std::move(*it));
        it = ready_.erase(it);
      }
    }
    for (const auto& pooled : gone) Discard(*pooled);
    Refill();
  }

  // Of what is made from now on; called when one that is ready ends (Check looks after it). It must not look
  // at live(), which a claim changes.
  void SetLostHandler(EngineSandbox::OnLost on_lost) { on_lost_ = std::move(on_lost); }
  size_t size() const {
    const std::lock_guard lock(mutex_);
    return ready_.size();
  }
  bool wanted() const { return wanted_ > 0; }

  // Held while a user's create talks to the engine: refilling waits.
  class Busy {
   public:
    explicit Busy(WarmPool& pool) : pool_(pool) {
      const std::lock_guard lock(pool_.mutex_);
      ++pool_.busy_;
    }
    ~Busy() {
      const std::lock_guard lock(pool_.mutex_);
      --pool_.busy_;
      pool_.idle_.notify_all();
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    WarmPool& pool_;
  };

  // One place is needed for a user (Busy is held): gives up one that is ready when all places are taken.
  void MakeRoom() {
    // Where the engine does not tell, the create finds out.
    if (!wanted() || Room(1).value_or(true)) return;
    {
      std::unique_lock lock(mutex_);
      // A refill goes on no further while somebody is busy, but the one it is making takes a place.
      idle_.wait_for(lock, kMakingLimit, [this] { return !making_; });
    }
    if (Room(0).value_or(true)) return;
    if (const auto pooled = Pop()) Discard(*pooled);
  }

 protected:
  // Null, and told: it can't be made.
  virtual std::unique_ptr<Pooled> Make() = 0;
  // Whether so many more find a place. Counted in the engine, since other host processes have sandboxes too;
  // nothing: it does not tell.
  virtual std::optional<bool> Room(int64_t more) = 0;
  // That it waits for a user now. Must not block.
  virtual void Announce(const Pooled& pooled) = 0;
  // What is out of date by what the engine says now.
  virtual std::function<bool(const Pooled&)> StaleNow() = 0;

  // Nothing: none is ready. One that ended meanwhile is removed.
  std::unique_ptr<Pooled> TakeReady() {
    for (;;) {
      auto pooled = Pop();
      if (pooled == nullptr || pooled->sandbox->channel()) return pooled;
      Discard(*pooled);
    }
  }
  const EngineSandbox::OnLost& on_lost() const { return on_lost_; }
  uint64_t Next() { return next_++; }  // for names; of Make alone

 private:
  static constexpr std::chrono::seconds kMakingLimit{30};
  static constexpr size_t kAtOnce = 8;

  // Several at once: an engine may take a second for each, and a host that ends has a few for all.
  void DiscardAll(const std::deque<std::unique_ptr<Pooled>>& left) {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i; (i = next++) < left.size();) Discard(*left[i]);
    };
    std::vector<std::thread> others;
    try {
      while (others.size() + 1 < std::min(left.size(), kAtOnce)) others.emplace_back(work);
    } catch (const std::system_error&) {  // no more threads: those that are there do it
    }
    work();
    for (std::thread& thread : others) thread.join();
  }

  std::unique_ptr<Pooled> Pop() {
    const std::lock_guard lock(mutex_);
    if (ready_.empty() || stopping_) return nullptr;
    auto pooled = std::move(ready_.front());
    ready_.pop_front();
    return pooled;
  }

  const int64_t& wanted_;
  EngineSandbox::OnLost on_lost_;
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::deque<std::unique_ptr<Pooled>> ready_;
  uint64_t next_ = 0;
  int busy_ = 0;
  bool filling_ = false, stopping_ = false;
  bool making_ = false;  // one that may not be in the engine's list yet
};

}  // namespace csb
