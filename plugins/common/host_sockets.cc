// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/host_sockets.h"

#include <dirent.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string_view>

namespace csb {

std::string NewHostSocket(const std::string& control) {
  static std::atomic<unsigned> counter{0};
  return control + "/" + std::to_string(getpid()) + "-" + std::to_string(counter++) + ".sock";
}

int HostsAt(const std::string& control) {
  int hosts = 0;
  DIR* dir = opendir(control.c_str());
  if (dir == nullptr) return 0;
  while (const dirent* entry = readdir(dir)) {
    char* end = nullptr;
    const long pid = strtol(entry->d_name, &end, 10);
    if (pid > 0 && *end == '-' && std::string_view(end).ends_with(".sock") &&
        (kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM))
      ++hosts;
  }
  closedir(dir);
  return hosts;
}

pid_t PeerPid(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

}  // namespace csb
