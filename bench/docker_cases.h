// SPDX-License-Identifier: Apache-2.0
//
// docker_cases.h: the rows of the Docker backend. The peer is the engine's own API, called from here; both
// take turns, in the same engine, with the same image and the same HostConfig.
#pragma once

#include <string>
#include <vector>

#include "bench/row.h"
#include "bench/service.h"

namespace csb::bench {

struct DockerContext {
  Service& service;  // on the Docker backend, without a pool
  std::string binary, socket, image;
  int scale;  // samples are divided by this
};

struct DockerCase {
  const char* name;
  std::vector<Row> (*run)(DockerContext&);
};

const std::vector<DockerCase>& DockerCases();

// What a host is started with to use the engine at a unix socket.
std::vector<std::string> DockerOptions(const std::string& socket, const std::string& image);

}  // namespace csb::bench
