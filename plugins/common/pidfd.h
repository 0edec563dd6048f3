// SPDX-License-Identifier: Apache-2.0
//
// pidfd.h: a process by descriptor, so that a reused pid is never signalled (pidfd_open(2),
// pidfd_send_signal(2)). The descriptor is readable once the process has ended: watch it with the
// reactor instead of waiting.
//
//   auto child = Pidfd::Open(pid);
//   if (!child) return child.error();
//   Status killed = child->Signal(SIGKILL);
#pragma once

#include <sys/types.h>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/unique_fd.h"

namespace csb {

class Pidfd {
 public:
  Pidfd() = default;
  // For one got by clone(2) with CLONE_PIDFD, or from a peer.
  explicit Pidfd(UniqueFd fd) : fd_(std::move(fd)) {}
  // CSB_E_NOT_FOUND when there is no such process.
  static Result<Pidfd> Open(pid_t pid);

  int get() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }
  // A process that has ended already is no error.
  Status Signal(int signal) const;
  // Without blocking; a zombie has ended.
  bool Ended() const;
  // Collects an own child that has ended: its waitid(2) status code (si_code, si_status), or
  // nothing yet / not ours. Never blocks.
  struct Exit {
    int code;    // CLD_EXITED, CLD_KILLED, CLD_DUMPED
    int status;  // exit status or signal
  };
  Result<Exit> Reap() const;

 private:
  UniqueFd fd_;
};

}  // namespace csb
