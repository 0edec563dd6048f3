// SPDX-License-Identifier: Apache-2.0
//
// options.h: the backend's options: declared once for the host's schema, read once into a struct.
//
//   auto options = ReadOptions(host);
//   if (!options) return options.error();      // names the option
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/plugin.h"
#include "plugins/common/http_client.h"
#include "plugins/common/sandbox_limits.h"

namespace csb::docker {

std::span<const csb_option> DeclaredOptions();

using Limits = SandboxLimits;

struct Options {
  HttpEndpoint endpoint;
  std::string host;                    // as configured: "unix:///var/run/docker.sock"
  std::optional<ChannelKind> channel;  // nullopt: found out
  std::string image;
  std::vector<std::string> more_images;  // that a create may ask for besides; "*": any
  bool pull = true;
  Limits limits;
  std::vector<std::string> python_options;  // of the agent (plugins/common/python_options.h)
  double idle_timeout = 900;                // seconds
  uint32_t user = 1000, group = 1000;
  std::string runtime;  // empty: the engine's default
  std::string seccomp;  // JSON of a profile, "" for ours, "docker" for the engine's default
  bool read_only = false;
  uint64_t tmp_bytes = 0;  // of /tmp; 0: a quarter of the memory
  std::string blocked_ranges;
  int64_t pool_size = 0;
  int64_t max_containers = 10;
  std::string agent;
  std::string state_dir, runtime_dir;
  std::string data_dir;  // empty: workspaces are volumes
};

Result<Options> ReadOptions(const HostRef& host);

}  // namespace csb::docker
