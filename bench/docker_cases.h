// SPDX-License-Identifier: Apache-2.0
//
// docker_cases.h: the rows of the Docker backend.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/engine_cases.h"

namespace csb::bench {

extern const EngineKind kDocker;

const std::vector<EngineCase>& DockerCases();

// What a host is started with to use the engine at a unix socket.
std::vector<std::string> DockerOptions(const std::string& socket, const std::string& image);
std::unique_ptr<Peer> MakeDockerPeer(const std::string& socket);

}  // namespace csb::bench
