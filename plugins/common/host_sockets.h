// SPDX-License-Identifier: Apache-2.0
//
// host_sockets.h: the sockets of host processes in a sandbox's control folder: one for each that is attached,
// named PID-N.sock, so that others can count who uses the sandbox.
#pragma once

#include <sys/types.h>

#include <string>

namespace csb {

// A new name in this folder, for this process.
std::string NewHostSocket(const std::string& control);
// Live processes that have one there.
int HostsAt(const std::string& control);
// Who connected to a Unix socket, as seen from here (unix(7), SO_PEERCRED); 0 when it can't be told.
pid_t PeerPid(int fd);

}  // namespace csb
