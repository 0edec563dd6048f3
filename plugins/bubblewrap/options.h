// SPDX-License-Identifier: Apache-2.0
//
// options.h: the backend's options: declared once for the host's schema, read once into a struct.
//
//   constexpr csb::PluginDescriptor kPlugin{.name = "bubblewrap", …, .options = kOptions};
//   auto options = ReadOptions(host);     // paths found, checked
#pragma once

#include <span>
#include <string>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/plugin.h"
#include "plugins/bubblewrap/limits.h"
#include "plugins/bubblewrap/uid_pair.h"

namespace csb::bwrap {

std::span<const csb_option> DeclaredOptions();

struct Options {
  Limits limits;                            // of a sandbox whose create asks for nothing else
  std::vector<std::string> python_options;  // of the agent (plugins/common/python_options.h)
  double idle_timeout = 900;                // seconds; 0: never
  uint64_t tmp_bytes = 0;                   // 0: half of the memory limit, at most 1 GiB
  std::string bwrap, agent, launcher, pasta, python;
  std::string data_dir;        // workspaces and what outlives a reboot
  std::string state_dir;       // uid claims, templates
  std::string runtime_dir;     // locks, sockets, live sandboxes
  std::string blocked_ranges;  // with pasta: comma separated CIDR ranges
  UidRange uids;               // count 0: one uid for agent and user code
  std::string one_uid_reason;  // why, when count is 0
};

// Nothing is created. Errors name the option.
Result<Options> ReadOptions(const HostRef& host);

}  // namespace csb::bwrap
