// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/pidfd.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "plugins/common/errno_error.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace csb {

Result<Pidfd> Pidfd::Open(pid_t pid) {
  // The kernel sets O_CLOEXEC on its own.
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (fd) return Pidfd(std::move(fd));
  Error error = ErrnoError("pidfd_open", std::to_string(pid));
  if (errno == ESRCH) error.code = CSB_E_NOT_FOUND;
  return error;
}

Status Pidfd::Signal(int signal) const {
  if (::syscall(SYS_pidfd_send_signal, fd_.get(), signal, nullptr, 0) == 0 || errno == ESRCH) return {};
  return ErrnoError("pidfd_send_signal", std::to_string(signal));
}

bool Pidfd::Ended() const {
  pollfd poll_fd{fd_.get(), POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) > 0;
}

Result<Pidfd::Exit> Pidfd::Reap() const {
  siginfo_t info{};
  if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(fd_.get()), &info, WEXITED | WNOHANG) != 0)
    return ErrnoError("waitid");
  if (info.si_pid == 0) return Error{CSB_E_UNAVAILABLE, "the process still runs", "", true};
  return Exit{info.si_code, info.si_status};
}

}  // namespace csb
