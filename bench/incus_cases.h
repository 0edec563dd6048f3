// SPDX-License-Identifier: Apache-2.0
//
// incus_cases.h: the rows of the Incus backend, on an engine of this machine and on a cluster.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/engine_cases.h"

namespace csb::bench {

extern const EngineKind kIncus;
extern const EngineKind kIncusCluster;

const std::vector<EngineCase>& IncusCases();
const std::vector<EngineCase>& IncusClusterCases();

// What a host is started with to use the engine, or the cluster's member, at a unix socket.
std::vector<std::string> IncusOptions(const std::string& socket, const std::string& image);
std::vector<std::string> IncusClusterOptions(const std::string& socket, const std::string& image);
std::unique_ptr<Peer> MakeIncusPeer(const std::string& socket);

}  // namespace csb::bench
