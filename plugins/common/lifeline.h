// SPDX-License-Identifier: Apache-2.0
//
// lifeline.h: work that is posted, or called back, for an object that may be gone by then.
//
//   class Registry { const std::shared_ptr<Lifeline<Registry>> line_ =
//   std::make_shared<Lifeline<Registry>>(this); … }; host.Post([line = line_] { line->With([](Registry&
//   registry) { registry.CleanUp(); }); }); Registry::~Registry() { line_->Cut(); … }      // first: nothing
//   is under way, nothing begins
//
// Thread-safe; `f` runs without a lock held.
#pragma once

#include <condition_variable>
#include <mutex>

namespace csb {

template <typename T>
class Lifeline {
 public:
  explicit Lifeline(T* object) : object_(object) {}
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

  // Calls f(object) unless it goes. What f throws goes on to the caller.
  template <typename F>
  void With(F&& f) {
    T* to = nullptr;
    {
      const std::lock_guard lock(mutex_);
      to = object_;
      if (to == nullptr) return;
      ++busy_;
    }
    struct Leave {
      Lifeline& line;
      ~Leave() {
        const std::lock_guard lock(line.mutex_);
        --line.busy_;
        line.idle_.notify_all();
      }
    } leave{*this};
    f(*to);
  }

  // No call begins from now on.
  void Close() {
    const std::lock_guard lock(mutex_);
    object_ = nullptr;
  }
  // Close, and waits for the calls that are under way. Not from inside one.
  void Cut() {
    std::unique_lock lock(mutex_);
    object_ = nullptr;
    idle_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  T* object_;
  int busy_ = 0;
};

}  // namespace csb
