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
#include "plugins/common/sandbox_limits.h"
#include "plugins/incus/engine.h"
#include "plugins/incus/remotes.h"

namespace csb::incus {

using Limits = SandboxLimits;

std::span<const csb_option> DeclaredOptions();

enum class Boot { kAgent, kImage };  // what is process 1 of a container

struct Options {
  Remote remote;
  std::string image;  // as configured: "images:debian/12/cloud"
  std::vector<std::string> more_images;
  bool vm = false;
  Boot boot = Boot::kAgent;
  std::optional<ChannelKind> channel;  // nullopt: found out
  Limits limits;
  std::vector<std::string> python_options;  // of the agent (plugins/common/python_options.h)
  double idle_timeout = 900;                // seconds
  uint32_t user = 1000, group = 1000;
  std::string pool;    // storage; "": the default profile's, else the best there is
  std::string target;  // "": placed by us; a member, or "@group"
  std::vector<std::string> profiles;
  Config extra;  // config keys that every instance gets besides ours
  bool secureboot = true;
  uint64_t tmp_bytes = 0;  // of /tmp; 0: a quarter of the memory
  std::string blocked_ranges;
  int64_t pool_size = 0;  // of the warm pool
  int64_t max_instances = 10;
  std::string agent;         // path of the binary
  std::string installation;  // shared by the hosts that serve the same users; "": of this state folder
  std::string state_dir, runtime_dir;
};

Result<Options> ReadOptions(const HostRef& host);

}  // namespace csb::incus
