// SPDX-License-Identifier: Apache-2.0
//
// loop.h: the one thread's event loop over epoll(7), with timers. Everything of the agent that
// waits, waits here.
//
//   Loop loop;
//   Watch watch;
//   watch.Start(loop, fd, EPOLLIN, [&](uint32_t events) { Read(fd); });
//   Timer timer(loop, [&] { loop.Stop(); });
//   timer.Arm(NowNs() + 5 * kSecond);
//   loop.Run();
//
// A Watch or Timer may be stopped from any callback; it must not be destroyed from its own
// callback: destroy its owner through Defer.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "agent/base/fd.h"

namespace csb::agent {

class Watch;
class Timer;

class Loop {
 public:
  Loop();
  bool ok() const { return static_cast<bool>(epoll_); }
  // Until Stop.
  void Run();
  void Stop() { stopped_ = true; }
  // Runs `work` once this round's events are handled.
  void Defer(std::function<void()> work) { deferred_.push_back(std::move(work)); }

 private:
  friend class Watch;
  friend class Timer;
  struct Slot {
    Watch* watch = nullptr;
    uint32_t generation = 0;
  };
  void RunOnce();
  int Timeout() const;

  Fd epoll_;
  bool stopped_ = false;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  std::set<std::pair<int64_t, Timer*>> timers_;
  std::vector<std::function<void()>> deferred_;
};

class Watch {
 public:
  using Callback = std::function<void(uint32_t)>;
  Watch() = default;
  ~Watch() { Stop(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // The descriptor stays the caller's; it must be open until Stop. False: errno says why.
  bool Start(Loop& loop, int fd, uint32_t events, Callback callback);
  // Other events; 0 takes the descriptor out of epoll, which else reports a hang-up for ever.
  void Set(uint32_t events);
  void Stop();
  bool started() const { return loop_ != nullptr; }

 private:
  friend class Loop;
  Loop* loop_ = nullptr;
  int fd_ = -1;
  uint32_t slot_ = 0;
  uint32_t events_ = 0;
  Callback callback_;
};

class Timer {
 public:
  Timer(Loop& loop, std::function<void()> callback) : loop_(loop), callback_(std::move(callback)) {}
  ~Timer() { Cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void Arm(int64_t at_ns);  // replaces an earlier time
  void Cancel();
  bool armed() const { return at_ != 0; }

 private:
  friend class Loop;
  Loop& loop_;
  int64_t at_ = 0;
  std::function<void()> callback_;
};

}  // namespace csb::agent
