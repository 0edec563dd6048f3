// SPDX-License-Identifier: Apache-2.0
//
// Shutdown, in order: nothing new; what runs may end; what still runs is cancelled; every handle at
// a backend is closed; records are written; the completion thread ends.
#include <utility>

#include "host/service/core.h"

namespace csb::host {

void Service::Core::Drain(std::chrono::milliseconds grace) {
  {
    std::lock_guard lock(drain_mutex);
    if (std::exchange(drained, true)) return;
    draining.store(true);
  }
  {
    std::lock_guard lock(records_mutex);
    if (flush_timer != 0) timers.Cancel(std::exchange(flush_timer, 0));
  }
  for (const auto& b : backends) {
    std::lock_guard lock(backends_mutex);
    if (b->retry_timer != 0) timers.Cancel(std::exchange(b->retry_timer, 0));
  }
  {
    std::unique_lock lock(drain_mutex);
    drain_changed.wait_for(lock, grace, [&] { return active.load() == 0; });
  }

  CancelAll();
  {
    // The guard bounds how long a backend can take over a cancel.
    std::unique_lock lock(drain_mutex);
    for (int round = 1; !drain_changed.wait_for(lock, std::chrono::milliseconds(500),
                                                [&] { return active.load() == 0 && open_calls == 0; });
         ++round) {
      const std::string line = "shutting down: waits for " + std::to_string(active.load()) +
                               " operations and " + std::to_string(open_calls) + " calls of the backends";
      lock.unlock();
      if (round % 10 == 0) Log(CSB_LOG_WARN, line);
      CancelAll();  // what was being submitted when the drain began, and is under way by now
      lock.lock();
    }
    over = true;  // nobody would wait for another
  }
  completions->Stop();
  {
    // A worker that writes now finishes first.
    std::unique_lock lock(records_mutex);
    records_idle.wait(lock, [&] { return !writing; });
    writing = true;
  }
  WriteRecords();
}

void Service::Core::CancelAll() {
  // Collected first, cancelled then: a cancel takes the locks itself.
  std::vector<OpPtr> operations;
  ForEachUser([&](const UserPtr& user) {
    std::lock_guard lock(user->mutex);
    for (const auto& op : user->queue) operations.push_back(op);
    for (Operation* op : user->running) operations.push_back(op->shared_from_this());
    if (user->idle_timer != 0) timers.Cancel(std::exchange(user->idle_timer, 0));
  });
  std::vector<std::shared_ptr<Call>> running;
  {
    std::lock_guard lock(drain_mutex);
    operations.insert(operations.end(), locals.begin(), locals.end());
    // Those that start later are cancelled as they start.
    if (!std::exchange(cancelling, true)) running.assign(calls.begin(), calls.end());
  }
  for (const auto& op : operations) op->CancelForShutdown();
  operations.clear();
  for (const auto& call : running) call->Cancel(CSB_E_CANCELLED);
  running.clear();
  RunReady();  // who waits for a probe finds that it is over
}

}  // namespace csb::host
