// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/options.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <optional>

namespace csb::agent {
namespace {

Error Wrong(const std::string& option, const char* why) {
  return {CSB_E_INVALID, option + " " + why, "see clara-sandbox-agent --help", false};
}

std::optional<uint32_t> Number(const std::string& text, uint32_t most) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(text.c_str(), &end, 10);
  if (errno != 0 || *end != 0 || value > most) return std::nullopt;
  return static_cast<uint32_t>(value);
}

bool IsModuleList(const std::string& text) {
  for (const char c : text)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
          c == '.' || c == ','))
      return false;
  return text.size() <= 4096;
}

Status Apply(Options& options, const std::string& name, const std::string& value,
             std::optional<uint32_t>& group) {
  ServerOptions& server = options.server;
  const auto path = [&](std::string& target) -> Status {
    if (value.empty() || value[0] != '/') return Wrong(name, "needs an absolute path");
    target = value;
    return {};
  };
  if (name == "--control") return path(server.control);
  if (name == "--bridges") return path(server.bridges);
  if (name == "--workspace") return path(server.commands.workspace);
  if (name == "--tmp") return path(server.commands.tmp);
  if (name == "--python") {
    server.commands.python_of_path = value == "auto";
    return server.commands.python_of_path ? Status() : path(server.commands.python);
  }
  if (name == "--seccomp") return path(options.seccomp);
  if (name == "--connect") return path(options.bridge.folder);
  if (name == "--host-id") {
    if (!IsHostId(value)) return Wrong(name, "needs 1 to 64 of A-Z a-z 0-9 _ -");
    options.bridge.host_id = value;
    return {};
  }
  if (name == "--oom-events") return path(server.oom_events);
  if (name == "--address" || name == "--gateway" || name == "--nameserver")
    return ReadIpv4Option(name, value, options.ipv4);
  if (name == "--block-routes") {
    options.block_routes = value;
    return {};
  }
  if (name == "--env") {
    const size_t equals = value.find('=');
    if (equals == std::string::npos || equals == 0) return Wrong(name, "needs NAME=VALUE");
    server.commands.env.push_back(value);
    return {};
  }
  if (name == "--idle-timeout" || name == "--warm-python") {
    char* end = nullptr;
    const double seconds = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != 0 || !std::isfinite(seconds) || seconds < 0 || seconds > 1e9)
      return Wrong(name, "needs a number of seconds, 0 or more");
    int64_t& target = name == "--idle-timeout" ? server.idle_timeout_ns : server.warm_time_ns;
    target = static_cast<int64_t>(seconds * static_cast<double>(kSecond));
    return {};
  }
  if (name == "--preload") {
    if (!IsModuleList(value)) return Wrong(name, "needs names of modules, separated by commas");
    server.commands.preload = value;
    return {};
  }
  // -1 means "unchanged" to setresuid and its kin.
  const auto number = Number(value, name == "--fd" ? 1u << 20 : UINT32_MAX - 1);
  if (name == "--fd") {
    if (!number) return Wrong(name, "needs the number of an open socket");
    server.fd = static_cast<int>(*number);
    return {};
  }
  if (name == "--user") {
    if (!number) return Wrong(name, "needs a numeric user id");
    server.identity.separate = true;
    server.identity.uid = *number;
    return {};
  }
  if (name == "--group") {
    if (!number) return Wrong(name, "needs a numeric group id");
    group = *number;
    return {};
  }
  return Wrong(name, "is not an option");
}

bool* Flag(Options& options, const std::string& name) {
  if (name == "--help") return &options.help;
  if (name == "--version") return &options.version;
  if (name == "--report") return &options.report;
  if (name == "--background") return &options.background;
  if (name == "--stop-init") return &options.stop_init;
  if (name == "--make-control") return &options.make_control;
  if (name == "--own-workspace") return &options.own_workspace;
  if (name == "--hosts") return &options.hosts;
  if (name == "--lo") return &options.loopback;
  if (name == "--close-lxc") return &options.close_lxc;
  return nullptr;
}

// What belongs together.
Status Check(const Options& options, bool has_group) {
  const ServerOptions& server = options.server;
  const bool bridge = !options.bridge.folder.empty();
  if (bridge == options.bridge.host_id.empty())
    return bridge ? Wrong("--connect", "needs --host-id") : Wrong("--host-id", "needs --connect");
  const bool folders = !server.control.empty() || !server.bridges.empty();
  if (folders + (server.fd >= 0) + bridge != 1)
    return Error{CSB_E_INVALID,
                 "exactly one of --control (or --bridges, or both), --fd, --connect and --report is needed",
                 "see clara-sandbox-agent --help", false};
  if (server.control == server.bridges && folders)
    return Wrong("--bridges", "needs another folder than --control");
  if (options.make_control && server.control.empty()) return Wrong("--make-control", "needs --control");
  if (options.background && OwnFolder(options).empty())
    return Wrong("--background", "needs --bridges or --make-control");
  if (has_group && !server.identity.separate) return Wrong("--group", "needs --user");
  return CheckIpv4(options.ipv4);
}

}  // namespace

Result<Options> ParseOptions(const std::vector<std::string>& arguments) {
  Options options;
  std::optional<uint32_t> group;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    if (bool* flag = Flag(options, name))
      *flag = true;
    else if (name.rfind("--", 0) != 0)
      return Wrong("'" + name + "'", "is not an option");
    else if (i + 1 == arguments.size())
      return Wrong(name, "needs a value, or is not an option");
    else if (auto applied = Apply(options, name, arguments[++i], group); !applied)
      return applied.error();
  }
  if (options.help || options.version || options.report) return options;
  if (auto checked = Check(options, group.has_value()); !checked) return checked.error();
  ServerOptions& server = options.server;
  server.commands.warm_python = server.warm_time_ns > 0;
  server.identity.gid = group.value_or(server.identity.uid);
  server.identity.workspace = server.commands.workspace;
  server.identity.tmp = server.commands.tmp;
  return options;
}

}  // namespace csb::agent
