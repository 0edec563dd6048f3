// SPDX-License-Identifier: Apache-2.0
//
// signals.h: what the main thread waits for: signals, and a nudge from other threads.
//
//   SignalWaiter waiter;                       // before any thread is made: they inherit the mask
//   app.StartFrontends(names, [&](int code) { waiter.Finish(code); });
//   for (;;) switch (auto event = waiter.Wait(); event.kind) { … }
//
// signalfd(2), eventfd(2). While it lives SIGTERM, SIGINT and SIGHUP are blocked in the thread that made it
// and in those made after.
#pragma once

#include <atomic>
#include <chrono>
#include <csignal>
#include <optional>
#include <vector>

struct pollfd;

namespace csb::host {

class SignalWaiter {
 public:
  // `resizes`: SIGWINCH as well.
  explicit SignalWaiter(bool resizes = false);
  ~SignalWaiter();
  SignalWaiter(const SignalWaiter&) = delete;
  SignalWaiter& operator=(const SignalWaiter&) = delete;

  // [any], also from callbacks that must not block.
  void Wake() noexcept;
  // Wakes and leaves an exit code; the first one stays. [any]
  void Finish(int exit_code) noexcept;
  std::optional<int> finished() const;

  // Waits for a signal, a wake-up, or an event of `extra` (their revents are set). A negative fd there is
  // skipped. The signal that came, or 0.
  int Wait(std::vector<pollfd>* extra = nullptr);

 private:
  static constexpr int kRunning = -1;
  sigset_t before_{};
  int signals_ = -1;
  int wake_ = -1;
  std::atomic<int> exit_code_{kRunning};
  int last_ = 0;
  std::chrono::steady_clock::time_point last_at_;
};

// Once, first thing in the program: fds 0 to 2 exist (/dev/null where they were closed, so that nothing else
// gets their numbers), SIGPIPE is ignored, as many files may be open as the hard limit allows.
void PrepareProcess();

}  // namespace csb::host
