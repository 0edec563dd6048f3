// SPDX-License-Identifier: Apache-2.0
//
// line_writer.h: whole lines to a descriptor that may not take them at once.
//
//   LineWriter writer(STDOUT_FILENO, {.on_low = […], .on_broken = […]});
//   writer.Write(json);                 // any thread; adds the newline
//   writer.Finish(1s);                  // what is left, for at most that long
//
// The calling thread writes when the descriptor takes it at once, else a thread of the writer's
// own does; Write never blocks. The descriptor's flags stay as they are: it may be shared with
// the terminal, so O_NONBLOCK is not set on it. A reader that is gone never ends the process
// (SIGPIPE is held back around each write).
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "plugins/common/unique_fd.h"

namespace csb::stdio {

class LineWriter {
 public:
  static constexpr size_t kHigh = 4 << 20;  // queued bytes from which on a caller should wait for on_low
  static constexpr size_t kLow = 1 << 20;

  // Called on the writer's thread, without any lock; may be empty.
  struct Handlers {
    std::function<void()> on_low;     // the queue fell below kLow after it had been above kHigh
    std::function<void()> on_broken;  // nobody reads any more; once
    std::function<void()> on_empty;   // what a Write had to leave behind is written
  };

  LineWriter(int fd, Handlers handlers);  // fd: borrowed, open until the destructor has returned
  ~LineWriter();                          // Finish(0)
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  void Write(std::string line);
  size_t queued() const;

  // Takes nothing new, writes what is queued for at most `limit`, ends the thread. Idempotent.
  // False: something was left.
  bool Finish(std::chrono::milliseconds limit);

 private:
  enum class Kind { kSocket, kFile, kOther };
  // Writes from the front as much as goes without blocking; false: broken. With mu_ held.
  bool WriteSome();
  void Loop();

  const int fd_;
  const Handlers handlers_;
  Kind kind_;
  UniqueFd wake_;  // eventfd: Finish
  mutable std::mutex mu_;
  std::condition_variable changed_;
  std::string queue_;
  size_t begin_ = 0;
  bool broken_ = false, broken_told_ = false, high_ = false, finishing_ = false;
  std::chrono::steady_clock::time_point finish_by_;
  std::thread thread_;
};

}  // namespace csb::stdio
