// SPDX-License-Identifier: Apache-2.0
//
// service_manager.h: the words between a service and the manager that started it: sd_notify(3),
// sd_listen_fds(3), sd_watchdog_enabled(3). Systemd's protocol, which others speak too; without a manager
// nothing happens.
//
//   const ServiceManager manager = ServiceManager::Take();   // before any thread
//   for (const InheritedSocket& socket : manager.sockets()) Serve(socket.fd);
//   manager.Notify("READY=1");
//
// The inherited sockets stay open until somebody closes them; whoever is told their numbers owns them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

struct InheritedSocket {
  int fd;
  std::string name;  // FileDescriptorName= of the socket's unit; systemd's default is the unit's name
};

class ServiceManager {
 public:
  // Reads the variables of the protocols, and takes them out of the environment, so that no program started
  // from here takes itself for the service. Inherited sockets become close-on-exec.
  static ServiceManager Take();
  ServiceManager() = default;

  // Someone listens.
  bool present() const { return socket_ != nullptr; }
  // Lines of sd_notify(3): "STOPPING=1\nSTATUS=…". Fails where the manager is gone; waits a second at most
  // where it does not read.
  Status Notify(std::string_view lines) const;
  // The same from a thread that must not wait; what finds no room is lost. [any]
  void NotifyAtOnce(std::string_view lines) const noexcept;

  // How often the manager wants to hear WATCHDOG=1 at least.
  std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }
  const std::vector<InheritedSocket>& sockets() const { return sockets_; }

 private:
  struct Socket;
  ssize_t Send(std::string_view lines, int flags) const;

  std::shared_ptr<const Socket> socket_;
  std::optional<std::chrono::microseconds> watchdog_;
  std::vector<InheritedSocket> sockets_;
};

}  // namespace csb::host
