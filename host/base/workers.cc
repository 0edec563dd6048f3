// SPDX-License-Identifier: Apache-2.0
#include "host/base/workers.h"

#include <utility>

#include "host/base/threads.h"

namespace csb::host {

Workers::Workers(size_t threads) {
  const SignalsBlocked blocked;  // inherited by what is started here
  for (size_t i = 0; i < threads; ++i)
    threads_.emplace_back([this] {
      NameThread("csb-worker");
      Run();
    });
}

Workers::~Workers() { Stop(); }

bool Workers::Post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    queue_.push_back(std::move(work));
  }
  ready_.notify_one();
  return true;
}

void Workers::Stop() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  ready_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

void Workers::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;  // what it captured is released outside the lock
    lock.lock();
  }
}

}  // namespace csb::host
