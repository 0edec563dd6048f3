// SPDX-License-Identifier: Apache-2.0
//
// listening.h: whether others than this machine can reach a frontend, told from its configuration.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/config/config.h"

namespace csb::host {

// "localhost", 127.0.0.0/8, ::1, with or without brackets.
bool IsLoopback(std::string_view address);

// True when one of the frontends listens beyond loopback, by its key NAME.host. Unset, that means everywhere
// once there is a key to ask for (NAME.api_key, NAME.keys_file) and loopback without. A frontend that has no
// such key does not listen.
bool ListensPublicly(const Config& config, const Schema& schema, const std::vector<std::string>& frontends);

}  // namespace csb::host
