// SPDX-License-Identifier: Apache-2.0
//
// warm_interpreter.h: a supervisor's Python that has started already (warm.py): it is forked ahead of the
// next run, and the fork, a child of the supervisor, becomes that run's main process.
//
//   WarmInterpreter warm(identity);
//   warm.Start(spec);                                   // a command that asked for it has ended
//   … poll warm.fds(), warm.Receive() …
//   if (warm.Await()) pid = warm.Launch(spec, stdio);   // the main process; warm.begun() says whether code
//   runs
//
// Belongs to a supervisor, so it is used by one thread and may block for moments. What comes on the sockets
// is of the user's own code: it decides nothing but which of the user's processes is taken for the main one.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "agent/base/fd.h"
#include "agent/process/code_file.h"
#include "agent/process/spawn.h"
#include "agent/process/spec.h"

namespace csb::agent {

class WarmInterpreter {
 public:
  // What the fork said of its request.
  enum class Begun { kNotYet, kYes, kStale, kNoFolder };

  explicit WarmInterpreter(const Identity& identity) : identity_(identity) {}

  // Starts one for runs like `spec`, and forks ahead; nothing where that fails, or has failed too often.
  void Start(const StartSpec& spec);
  // Is there one for this run, which could be asked to wait for it?
  bool Serves(const StartSpec& spec) const;
  // Until a fork waits for its run, at most for moments. False: run without; one that should have answered is
  // dropped.
  bool Await();
  // Hands the run to the fork that waits. -1: it cannot be told, run without.
  pid_t Launch(const StartSpec& spec, const ChildStdio& stdio);

  // The two sockets, -1 for none.
  int control() const { return control_.get(); }
  int orders() const { return orders_.get(); }
  // Takes what came on them.
  void Receive();
  Begun begun() const { return begun_; }
  int folder_error() const { return folder_error_; }

  // The run has ended: its code is taken away; drops the interpreter if the run changed its folder.
  void Finish();
  // One of the supervisor's children was reaped.
  void Reaped(pid_t pid);
  // Whether it is the interpreter, or the fork of the next run: not part of the run.
  bool Owns(pid_t pid) const { return pid > 0 && (pid == pid_ || pid == next_); }
  // Kills both; they are still to be reaped.
  void Drop();
  bool alive() const { return pid_ > 0; }
  // Whether one is there, or may still be had.
  bool hopeful() const { return failures_ < kMaxFailures; }

 private:
  // One that never comes up (a Python that is too old, a memory limit too small) is not tried for ever.
  static constexpr int kMaxFailures = 3;

  void Order();
  void ReceiveOrders();
  void Say(std::string_view text, pid_t from);

  const Identity& identity_;
  CodeFile folder_;
  std::vector<std::string> key_;  // the program, and the environment it was started in
  Fd control_, orders_;
  pid_t pid_ = -1;   // the interpreter
  pid_t next_ = -1;  // forked ahead, not launched
  pid_t run_ = -1;   // launched
  bool ordered_ = false;
  bool ready_ = false;  // the fork waits
  bool left_ = false;   // and is the supervisor's child
  bool was_ready_ = false;
  bool drop_after_ = false;  // once the run has begun
  int failures_ = 0;
  Begun begun_ = Begun::kNotYet;
  int folder_error_ = 0;
};

}  // namespace csb::agent
