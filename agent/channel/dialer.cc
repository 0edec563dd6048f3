// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/dialer.h"

#include <dirent.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "agent/base/log.h"

namespace csb::agent {
namespace {

constexpr int kMaxAttempts = 8;  // 5 ms, doubling: about 1.3 s in all
constexpr int64_t kFirstDelay = 5 * kMs;

bool IsSocketName(const std::string& name) {
  return name.size() > 5 && name.compare(name.size() - 5, 5, ".sock") == 0;
}

}  // namespace

Dialer::Dialer(Loop& loop, std::string folder, OnConnected on_connected)
    : loop_(loop),
      folder_(std::move(folder)),
      on_connected_(std::move(on_connected)),
      retry_(loop, [this] { Scan(false); }) {}

Status Dialer::Start() {
  const auto failed = [&](const char* what) {
    return Error{CSB_E_IO, std::string(what) + " " + folder_ + ": " + strerror(errno),
                 "--control and --bridges need a folder where hosts' sockets are put", false};
  };
  inotify_.Reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify_) return failed("inotify for");
  if (inotify_add_watch(inotify_.get(), folder_.c_str(),
                        IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_ONLYDIR) < 0)
    return failed("cannot watch");
  if (!watch_.Start(loop_, inotify_.get(), EPOLLIN, [this](uint32_t) { OnChange(); }))
    return failed("cannot watch");
  // After the watch, so that nothing is missed between the two.
  Scan(true);
  return {};
}

void Dialer::OnChange() {
  alignas(inotify_event) char buffer[4096];
  // What changed does not matter: the folder is small and is read again.
  while (read(inotify_.get(), buffer, sizeof buffer) > 0) {
  }
  Scan(true);
}

void Dialer::Scan(bool changed) {
  std::set<std::string> present;
  if (DIR* dir = opendir(folder_.c_str())) {
    while (const dirent* entry = readdir(dir))
      if (IsSocketName(entry->d_name)) present.insert(entry->d_name);
    closedir(dir);
  } else {
    Log("cannot read %s: %s", folder_.c_str(), strerror(errno));
  }
  for (auto it = hosts_.begin(); it != hosts_.end();)
    it = !it->second.connected && present.count(it->first) == 0 ? hosts_.erase(it) : std::next(it);
  const int64_t now = NowNs();
  for (const auto& name : present) {
    Host& host = hosts_[name];
    if (host.connected) continue;
    if (changed) host.attempts = 0;
    if (changed || (host.next_ns != 0 && host.next_ns <= now)) Dial(name, host);
  }
  ArmTimer();
}

void Dialer::Dial(const std::string& name, Host& host) {
  host.next_ns = 0;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = folder_ + "/" + name;
  if (path.size() >= sizeof address.sun_path) {
    Log("the path of %s is too long for a socket", path.c_str());
    return;
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket || connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    const int error = errno;
    if (host.attempts == 0 && error != ECONNREFUSED && error != ENOENT && error != EAGAIN)
      Log("cannot connect to %s: %s", path.c_str(), strerror(error));
    return ScheduleRetry(host);
  }
  host.connected = true;
  host.connected_ns = NowNs();
  if (on_connected_(std::move(socket), path)) return;
  host.connected = false;
  ScheduleRetry(host);
}

void Dialer::ScheduleRetry(Host& host) {
  if (host.attempts >= kMaxAttempts) return;
  host.next_ns = NowNs() + (kFirstDelay << host.attempts);
  ++host.attempts;
}

void Dialer::OnClosed(const std::string& path) {
  if (path.rfind(folder_ + "/", 0) != 0) return;
  const auto it = hosts_.find(path.substr(folder_.size() + 1));
  if (it == hosts_.end()) return;
  Host& host = it->second;
  host.connected = false;
  // A host that hangs up at once gets fewer and fewer calls; one that was there for a while starts afresh.
  if (NowNs() - host.connected_ns > kSecond) host.attempts = 0;
  ScheduleRetry(host);
  ArmTimer();
}

void Dialer::ArmTimer() {
  int64_t next = 0;
  for (const auto& [name, host] : hosts_)
    if (!host.connected && host.next_ns != 0 && (next == 0 || host.next_ns < next)) next = host.next_ns;
  if (next == 0)
    retry_.Cancel();
  else
    retry_.Arm(next);
}

}  // namespace csb::agent
