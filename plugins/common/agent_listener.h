// SPDX-License-Identifier: Apache-2.0
//
// agent_listener.h: the Unix socket on which a sandbox's agent comes to this host process.
//
//   auto listener = AgentListener::Create(reactor, "/run/clara-sandbox/sandboxes/alice-2b…/host-4711.sock",
//       [pid](const AgentPeer& peer) { return peer.pid == pid; },
//       [](UniqueFd fd) { channel = AgentChannel::Create(reactor, std::move(fd), …); });
//
// Code in the sandbox reaches the socket too, so every connection is shown to `accept` with what
// the kernel knows of the peer (unix(7), SO_PEERCRED); others are closed unread. A flood of refused
// connections pauses accepting for a moment, so that it costs the sandbox more than the host.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/reactor.h"
#include "plugins/common/unique_fd.h"

namespace csb {

// As seen from this process's namespaces, at the time of connect(2).
struct AgentPeer {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};

class AgentListener {
 public:
  using Accept = std::function<bool(const AgentPeer&)>;
  using OnConnect = std::function<void(UniqueFd)>;

  // Listens at `path` (the folder must exist; paths longer than sun_path work), mode 0666; a stale
  // socket there is removed. Both functions are called on the reactor's thread.
  static Result<std::unique_ptr<AgentListener>> Create(Reactor& reactor, const std::string& path,
                                                       Accept accept, OnConnect on_connect);
  // Stops listening and removes the socket. A call of a function may still be under way on the
  // reactor's thread unless this is called there.
  ~AgentListener();
  AgentListener(const AgentListener&) = delete;
  AgentListener& operator=(const AgentListener&) = delete;

 private:
  struct Impl;
  explicit AgentListener(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb
