// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/background.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/base/log.h"

namespace csb::agent {
namespace {

Error Failed(const char* what) {
  return {CSB_E_INTERNAL, std::string("--background: ") + what + ": " + strerror(errno), "", false};
}

// What the engine's exec may have left open would hold its other end for the life of the daemon.
void CloseOthers() {
  if (syscall(SYS_close_range, 3, ~0u, 0) == 0) return;
  for (int fd = 3; fd < 65536; ++fd) close(fd);
}

[[noreturn]] void Await(const Fd& pipe, pid_t child) {
  unsigned char code = 1;
  ssize_t n;
  do n = read(pipe.get(), &code, 1);
  while (n < 0 && errno == EINTR);
  if (n != 1) Log("the agent ended before it served anybody");
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  _exit(n == 1 ? code : 1);
}

}  // namespace

void StartReport::Tell(int code) {
  if (!pipe_) return;
  if (code == 0) {
    const Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int fd = 0; fd <= 2 && null; ++fd)
      if (dup2(null.get(), fd) < 0) Log("cannot let go of descriptor %d: %s", fd, strerror(errno));
  }
  const auto byte = static_cast<unsigned char>(code);
  // Nobody is left to be told when the waiting process is gone: the agent serves all the same.
  if (write(pipe_.get(), &byte, 1) != 1) Log("nobody waits for the start: %s", strerror(errno));
  pipe_.Reset();
}

Result<StartReport> Detach() {
  CloseOthers();
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return Failed("pipe");
  Fd reading(ends[0]);
  Fd writing(ends[1]);
  const pid_t child = fork();
  if (child < 0) return Failed("fork");
  if (child > 0) {
    writing.Reset();
    Await(reading, child);
  }
  reading.Reset();
  if (setsid() < 0) return Failed("setsid");
  // Not the leader of the session, so that no terminal it opens becomes its own.
  const pid_t daemon = fork();
  if (daemon < 0) return Failed("fork");
  if (daemon > 0) _exit(0);
  if (chdir("/") < 0) return Failed("chdir");
  return StartReport(std::move(writing));
}

}  // namespace csb::agent
