// SPDX-License-Identifier: Apache-2.0
//
// listening.h: where frontends listen: whether others than this machine can reach one, and which of them get
// the sockets that a service manager opened.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/base/service_manager.h"
#include "host/config/config.h"

namespace csb::host {

// "localhost", 127.0.0.0/8, ::1, with or without brackets.
bool IsLoopback(std::string_view address);

// True when one of the frontends listens beyond loopback, by its key NAME.host. Unset, that means everywhere
// once there is a key to ask for (NAME.api_key, NAME.keys_file) and loopback without. Of a frontend with
// inherited sockets (NAME.listen_fds) it is the addresses of these that count; a Unix socket is this
// machine's. A frontend that has no such key does not listen.
bool ListensPublicly(const Config& config, const Schema& schema, const std::vector<std::string>& frontends);

// Writes the sockets into the keys NAME.listen_fds: each to the frontend that its name names, else to the
// first that has the key. CSB_E_INVALID when none has.
Status GiveSockets(const std::vector<InheritedSocket>& sockets, const std::vector<std::string>& frontends,
                   const Schema& schema, Config* config);

}  // namespace csb::host
