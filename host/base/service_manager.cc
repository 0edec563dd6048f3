// SPDX-License-Identifier: Apache-2.0
#include "host/base/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace csb::host {
namespace {

constexpr int kFirstSocket = 3;        // SD_LISTEN_FDS_START
constexpr int64_t kMostSockets = 256;  // a number beyond is no manager's
constexpr timeval kPatience{1, 0};

std::string TakeVariable(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value == nullptr ? "" : value;
  unsetenv(name);
  return text;
}

std::optional<int64_t> Number(const std::string& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

// What was meant for a process that then started us is not for us.
bool ForUs(const std::string& pid) { return Number(pid) == getpid(); }

std::vector<InheritedSocket> Sockets(const std::string& pid, const std::string& count,
                                     std::string_view names) {
  std::vector<InheritedSocket> sockets;
  const int64_t n = Number(count).value_or(0);
  if (!ForUs(pid) || n > kMostSockets) return sockets;
  for (int fd = kFirstSocket; fd < kFirstSocket + n; ++fd) {
    const size_t colon = std::min(names.find(':'), names.size());
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) sockets.push_back({fd, std::string(names.substr(0, colon))});
    names.remove_prefix(std::min(colon + 1, names.size()));
  }
  return sockets;
}

}  // namespace

struct ServiceManager::Socket {
  Socket() = default;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd >= 0) close(fd);
  }
  // "/run/…", or "@…" for an abstract one. Other families (vsock, of virtual machines' managers) are not
  // ours.
  bool Open(const std::string& name) {
    if (name.size() < 2 || name.size() >= sizeof address.sun_path || (name[0] != '/' && name[0] != '@'))
      return false;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = 0;
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (name[0] == '/' ? 1 : 0));
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience) == 0;
  }

  int fd = -1;
  sockaddr_un address{};
  socklen_t size = 0;
};

ServiceManager ServiceManager::Take() {
  ServiceManager manager;
  const std::string name = TakeVariable("NOTIFY_SOCKET");
  const std::string usec = TakeVariable("WATCHDOG_USEC"), watched = TakeVariable("WATCHDOG_PID");
  const std::string pid = TakeVariable("LISTEN_PID"), count = TakeVariable("LISTEN_FDS");
  manager.sockets_ = Sockets(pid, count, TakeVariable("LISTEN_FDNAMES"));
  auto socket = std::make_shared<Socket>();
  if (!socket->Open(name)) return manager;
  manager.socket_ = std::move(socket);
  if (const auto interval = Number(usec); interval && *interval > 0 && (watched.empty() || ForUs(watched)))
    manager.watchdog_ = std::chrono::microseconds(*interval);
  return manager;
}

ssize_t ServiceManager::Send(std::string_view lines, int flags) const {
  return sendto(socket_->fd, lines.data(), lines.size(), flags | MSG_NOSIGNAL,
                reinterpret_cast<const sockaddr*>(&socket_->address), socket_->size);
}

Status ServiceManager::Notify(std::string_view lines) const {
  if (!socket_ || Send(lines, 0) >= 0) return {};
  return Error{CSB_E_IO, std::string("the service manager cannot be told: ") + std::strerror(errno),
               "NOTIFY_SOCKET names the socket where it listens", false};
}

void ServiceManager::NotifyAtOnce(std::string_view lines) const noexcept {
  if (socket_) static_cast<void>(Send(lines, MSG_DONTWAIT));  // the next word comes soon
}

}  // namespace csb::host
