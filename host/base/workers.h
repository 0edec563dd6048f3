// SPDX-License-Identifier: Apache-2.0
//
// workers.h: a fixed pool of threads for work that may block.
//
//   Workers workers(8);
//   workers.Post([] { ReadBigFile(); });
//   workers.Stop();                       // runs what is queued, then joins
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace csb::host {

class Workers {
 public:
  // threads: 1..1024. Signals are blocked in them: the main thread handles signals.
  explicit Workers(size_t threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Queues `work`, which must not throw; first in, first out. false after Stop: it will not
  // run. Thread-safe, does not block.
  bool Post(std::function<void()> work);
  // Refuses new work, runs what is queued, joins. Idempotent; not from a worker.
  void Stop();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace csb::host
