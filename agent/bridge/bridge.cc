// SPDX-License-Identifier: Apache-2.0
#include "agent/bridge/bridge.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/base/log.h"
#include "agent/bridge/evict.h"
#include "agent/bridge/pump.h"
#include "agent/setup/agent_lock.h"

namespace csb::agent {
namespace {

Error Failed(const std::string& what, std::string hint = "") {
  const int error = errno;
  return {CSB_E_IO, what + ": " + strerror(error), std::move(hint), false};
}

// Until the folder is there or can't be awaited any longer: an engine lets a bridge in as soon as it has
// started the agent, which makes the folder. What becomes of it shows when it is opened. False: the host went
// away or a signal came first.
bool AwaitFolder(const BridgeOptions& options, int64_t until, int signals) {
  const auto there = [&] { return access(options.folder.c_str(), F_OK) == 0 || errno != ENOENT; };
  if (there()) return true;
  const Fd changes(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  const size_t name = options.folder.find_last_of('/');
  const std::string parent =
      name == std::string::npos ? "." : options.folder.substr(0, std::max<size_t>(name, 1));
  if (!changes || inotify_add_watch(changes.get(), parent.c_str(), IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0)
    return true;
  // After the watch, so that nothing is missed between the two.
  while (!there()) {
    const int64_t left = until - NowNs();
    if (left <= 0) return true;
    pollfd fds[] = {{changes.get(), POLLIN, 0}, {STDIN_FILENO, 0, 0}, {signals, POLLIN, 0}};
    if (poll(fds, 3, static_cast<int>(left / kMs) + 1) < 0 && errno != EINTR) return true;
    if (fds[1].revents != 0 || fds[2].revents != 0) return false;
    alignas(inotify_event) char buffer[4096];
    while (read(changes.get(), buffer, sizeof buffer) > 0) {
    }
  }
  return true;
}

// The socket in the folder, gone with the object.
class Listener {
 public:
  ~Listener() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  int fd() const { return socket_.get(); }
  void Close() { socket_.Reset(); }

  Status Open(const BridgeOptions& options) {
    Fd folder(open(options.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat info;
    if (!folder || fstat(folder.get(), &info) < 0)
      return Failed("cannot open " + options.folder, "--connect needs the folder of the agent's --bridges");
    if (info.st_uid != geteuid() || (info.st_mode & 022) != 0)
      return Error{CSB_E_IO,
                   options.folder + " can be written to by others than uid " + std::to_string(geteuid()),
                   "run the bridge as the owner of the agent's control folder", false};
    // One at a time: of two that start together, the later one ends the earlier, and never each the other.
    while (flock(folder.get(), LOCK_EX) < 0)
      if (errno != EINTR) return Failed("cannot lock " + options.folder);
    if (auto evicted = EvictBridges(options.folder, options.host_id); !evicted) return evicted;
    return Bind(options);
  }

 private:
  // Under another name first, so that the agent finds it listening (docs/agent-protocol.md).
  Status Bind(const BridgeOptions& options) {
    const std::string hidden = options.folder + "/" + BridgeName(options.host_id, getpid());
    const std::string visible = hidden + std::string(kSocketEnding);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (visible.size() >= sizeof address.sun_path)
      return Error{CSB_E_INVALID, visible + " is too long for the path of a socket",
                   "use a shorter folder or --host-id", false};
    hidden.copy(address.sun_path, sizeof address.sun_path - 1);
    unlink(hidden.c_str());
    socket_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const mode_t mask = umask(0177);
    const bool bound =
        socket_ && bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    umask(mask);
    if (!bound) return Failed("cannot make " + hidden);
    path_ = hidden;
    if (listen(socket_.get(), 8) < 0) return Failed("cannot listen at " + hidden);
    if (rename(hidden.c_str(), visible.c_str()) < 0) return Failed("cannot make " + visible);
    path_ = visible;
    return {};
  }

  Fd socket_;
  std::string path_;
};

// The other side must be the init of our own pid namespace, or the agent beside another init, which holds the
// folder's lock; another namespace's process is 0 here. Older kernels of gVisor name whoever asks instead:
// there the folder alone, root's and closed to others (Listen), keeps everybody else away.
bool IsAgent(int socket, const std::string& folder) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  if (peer.pid <= 0) return false;
  return peer.pid == 1 || peer.pid == getpid() || peer.pid == AgentLockHolder(folder);
}

// The agent's connection; none when the host went away or a signal came first.
Result<Fd> WaitForAgent(const BridgeOptions& options, int64_t until, int listener, int signals) {
  for (;;) {
    const int64_t left = until - NowNs();
    if (left <= 0)
      return Error{CSB_E_UNAVAILABLE,
                   "the agent did not connect within " + std::to_string(options.wait_ns / kMs) + " ms",
                   "is it running, with --bridges or --control of the same folder?", true};
    // stdin is watched for its end alone; what it holds waits for the agent.
    pollfd fds[] = {{listener, POLLIN, 0}, {STDIN_FILENO, 0, 0}, {signals, POLLIN, 0}};
    if (poll(fds, 3, static_cast<int>(left / kMs) + 1) < 0) {
      if (errno == EINTR) continue;
      return Failed("poll");
    }
    if (fds[0].revents != 0) {
      Fd socket(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (socket && IsAgent(socket.get(), options.folder)) return socket;
      if (socket) Log("refused a connection that is not from the agent");
      continue;
    }
    if (fds[1].revents != 0 || fds[2].revents != 0) return Fd();
  }
}

}  // namespace

bool IsHostId(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

Status RunBridge(const BridgeOptions& options) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return Failed("signals");
  const Fd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return Failed("signals");
  const int64_t until = NowNs() + options.wait_ns;
  if (!AwaitFolder(options, until, signals.get())) return {};
  Listener listener;
  if (auto opened = listener.Open(options); !opened) return opened;
  auto agent = WaitForAgent(options, until, listener.fd(), signals.get());
  if (!agent) return agent.error();
  if (!*agent) return {};
  listener.Close();
  Pump(STDIN_FILENO, STDOUT_FILENO, agent->get(), signals.get());
  return {};
}

}  // namespace csb::agent
