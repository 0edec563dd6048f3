// SPDX-License-Identifier: Apache-2.0
//
// reactor.h: one I/O thread of a plugin instance: file descriptors (epoll), timers (one timerfd,
// so that setting a later timer wakes nobody) and posted work.
//
//   auto reactor = Reactor::Create("bubblewrap");
//   if (!reactor) return reactor.error();
//   auto watch = (*reactor)->Watch(fd, EPOLLIN, [](uint32_t events) { … });
//   (*reactor)->At(Reactor::Clock::now() + 2s, [] { … });
//
// Threads: every function may be called from any thread, also from a handler. Handlers run on
// the reactor's thread, one at a time, and must not block; an exception that leaves one ends the
// process, as it would leave any thread.
// Ownership: descriptors stay the caller's; unwatch before closing one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "clara_sandbox/cpp/result.h"

namespace csb {

class Reactor {
 public:
  using Clock = std::chrono::steady_clock;
  using WatchId = uint64_t;  // never reused; 0 is none
  using TimerId = uint64_t;  // never reused; 0 is none

  // `name` is the thread's, cut to 15 bytes. Fails when the process is out of descriptors or threads.
  static Result<std::unique_ptr<Reactor>> Create(const char* name);

  // Runs what was posted until then, then ends the thread. Not from a handler. Pending timers and
  // watches are dropped.
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Calls handler(events) while any of `events` (EPOLLIN, EPOLLOUT; level triggered; EPOLLHUP and
  // EPOLLERR always) holds.
  Result<WatchId> Watch(int fd, uint32_t events, std::function<void(uint32_t)> handler);
  void Change(WatchId id, uint32_t events);
  // No call of the handler starts after this returned; one may be under way on the reactor's
  // thread, which keeps the handler's captures alive until it is through.
  void Unwatch(WatchId id);

  TimerId At(Clock::time_point when, std::function<void()> fn);
  // False when it has run, runs now, or never was.
  bool CancelTimer(TimerId id);

  // Runs fn on the reactor's thread, in the order of posting.
  void Post(std::function<void()> fn);

  bool OnThread() const;

  // Scratch memory for reads by handlers: one buffer for all of them instead of one for each
  // descriptor. Valid until the handler returns.
  struct Scratch {
    char* data;
    size_t size;
  };
  Scratch scratch();

 private:
  struct Impl;
  explicit Reactor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace csb
