// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/stop_init.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/base/proc_file.h"

namespace csb::agent {

int PowerOffSignal(const std::string& root) {
  const auto name = ReadSmallFile(root + "/proc/1/comm");
  struct stat info;
  // The folder is what sd_booted(3) looks at, should the name be another (a wrapper, an initrd's).
  const bool systemd =
      (name && Trimmed(*name) == "systemd") || lstat((root + "/run/systemd/system").c_str(), &info) == 0;
  return systemd ? SIGRTMIN + 4 : SIGUSR2;
}

Status StopInit() {
  if (getpid() == 1) return {};
  if (kill(1, PowerOffSignal()) == 0) return {};
  return Error{CSB_E_IO, std::string("cannot tell process 1 to power off: ") + strerror(errno),
               "--stop-init needs CAP_KILL, or the user of process 1", false};
}

}  // namespace csb::agent
