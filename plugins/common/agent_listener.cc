// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/agent_listener.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdio>
#include <cstring>
#include <mutex>

#include "plugins/common/errno_error.h"

namespace csb {
namespace {

constexpr int kRefusalsInARow = 16;
constexpr auto kPause = std::chrono::milliseconds(200);

}  // namespace

struct AgentListener::Impl : std::enable_shared_from_this<AgentListener::Impl> {
  Impl(Reactor& r, Accept a, OnConnect c) : reactor(r), accept(std::move(a)), on_connect(std::move(c)) {}

  Reactor& reactor;
  const Accept accept;
  const OnConnect on_connect;
  UniqueFd folder;  // so that the socket is removed where it was made, whatever was moved since
  std::string name;
  UniqueFd fd;
  Reactor::WatchId watch = 0;
  int refused = 0;  // in a row; the reactor's thread only
  std::mutex mu;    // closed, timer
  bool closed = false;
  Reactor::TimerId timer = 0;

  void OnReadable() {
    std::unique_lock lock(mu);
    if (closed) return;
    UniqueFd peer(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    lock.unlock();
    // Out of descriptors: the connection stays in the backlog and epoll would call again at once.
    if (!peer) return errno == EMFILE || errno == ENFILE ? Pause() : void();
    ucred cred{};
    socklen_t size = sizeof cred;
    if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &cred, &size) == 0 &&
        accept({cred.pid, cred.uid, cred.gid})) {
      refused = 0;
      on_connect(std::move(peer));
    } else if (++refused >= kRefusalsInARow) {
      refused = 0;
      Pause();
    }
  }

  void Pause() {
    std::lock_guard lock(mu);
    if (closed) return;
    reactor.Change(watch, 0);
    timer = reactor.At(Reactor::Clock::now() + kPause, [self = shared_from_this()] {
      std::lock_guard inner(self->mu);
      self->timer = 0;
      if (!self->closed) self->reactor.Change(self->watch, EPOLLIN);
    });
  }

  void Close() {
    std::lock_guard lock(mu);
    if (closed) return;
    closed = true;
    if (timer != 0) reactor.CancelTimer(timer);
    if (watch != 0) reactor.Unwatch(watch);
    if (fd) ::unlinkat(folder.get(), name.c_str(), 0);
    fd.reset();
  }
};

AgentListener::AgentListener(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
AgentListener::~AgentListener() { impl_->Close(); }

Result<std::unique_ptr<AgentListener>> AgentListener::Create(Reactor& reactor, const std::string& path,
                                                             Accept accept, OnConnect on_connect) {
  auto impl = std::make_shared<Impl>(reactor, std::move(accept), std::move(on_connect));
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  impl->name = slash == std::string::npos ? path : path.substr(slash + 1);
  impl->folder = UniqueFd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!impl->folder) return ErrnoError("open", folder);

  // sun_path has 108 bytes; a path through the open folder is short whatever the folder's name is.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int length = std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s",
                                   impl->folder.get(), impl->name.c_str());
  if (impl->name.empty() || length >= static_cast<int>(sizeof address.sun_path))
    return Error{CSB_E_INVALID, "not a name for a socket: " + path, "", false};
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError("socket", path);
  if (::unlinkat(impl->folder.get(), impl->name.c_str(), 0) != 0 && errno != ENOENT)
    return ErrnoError("unlink", path);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return ErrnoError("bind", path);
  // From here on Close() removes the socket. The sandbox's agent may have a uid of its own.
  impl->fd = std::move(fd);
  std::unique_ptr<AgentListener> listener(new AgentListener(impl));
  if (::fchmodat(impl->folder.get(), impl->name.c_str(), 0666, 0) != 0) return ErrnoError("chmod", path);
  if (::listen(impl->fd.get(), 64) != 0) return ErrnoError("listen", path);
  std::lock_guard lock(impl->mu);
  auto watch = reactor.Watch(impl->fd.get(), EPOLLIN, [impl](uint32_t) { impl->OnReadable(); });
  if (!watch) return watch.error();
  impl->watch = *watch;
  return listener;
}

}  // namespace csb
