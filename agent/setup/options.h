// SPDX-License-Identifier: Apache-2.0
//
// options.h: the command line of clara-sandbox-agent, written by backends, read once.
//
//   auto options = ParseOptions({argv + 1, argv + argc});
//   if (!options) return Usage(options.error());
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/bridge/bridge.h"
#include "agent/channel/server.h"
#include "agent/setup/network.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct Options {
  ServerOptions server;
  bool help = false;
  bool version = false;
  bool report = false;
  BridgeOptions bridge;  // its folder empty: no bridge
  bool background = false;
  bool stop_init = false;
  bool make_control = false;
  bool own_workspace = false;
  bool hosts = false;
  bool loopback = false;
  bool close_lxc = false;
  Ipv4Setup ipv4;
  std::string block_routes;
  std::string seccomp;
};

// The folder that this agent makes and that nobody else can enter; empty: none.
inline std::string OwnFolder(const Options& options) {
  const ServerOptions& server = options.server;
  return server.bridges.empty() && options.make_control ? server.control : server.bridges;
}

inline constexpr std::string_view kUsage =
    "usage: clara-sandbox-agent --control DIR | --bridges DIR | --fd N [options]\n"
    "       clara-sandbox-agent --connect DIR --host-id ID\n"
    "       clara-sandbox-agent --report [--workspace DIR]\n"
    "  --control DIR         serve every host whose *.sock is in DIR\n"
    "  --make-control        make DIR first, for this user alone\n"
    "  --bridges DIR         serve the --connect DIR of hosts elsewhere; DIR is made, for this user alone;\n"
    "                        alone or beside --control\n"
    "  --fd N                serve the one socket N; its end is the agent's end\n"
    "  --connect DIR         join stdin and stdout to the agent that serves DIR, for a host elsewhere\n"
    "  --host-id ID          of that host; ends the older bridges with the same one\n"
    "  --report              print as JSON what bounds this process is held by\n"
    "  --workspace DIR       where commands start and HOME is (/workspace)\n"
    "  --own-workspace       make that folder, and --user its owner; needs CAP_CHOWN\n"
    "  --tmp DIR             temporary folder (/tmp)\n"
    "  --user UID            run commands as this user id; needs CAP_SETUID, CAP_SETGID, CAP_KILL\n"
    "  --group GID           and this group id (UID)\n"
    "  --background          come back once hosts are served and go on without the caller (needs --bridges\n"
    "                        or --make-control); where an agent serves that folder already nothing is done\n"
    "  --stop-init           end the machine, by asking its process 1, when a host or the idle timeout ends\n"
    "                        the agent\n"
    "  --idle-timeout SEC    end when no host was connected for so long (0: never)\n"
    "  --env NAME=VALUE      add to the environment of commands; may be repeated\n"
    "  --python PATH         the interpreter of execute and pip (python3 of the system folders);\n"
    "                        auto: the python3 of the commands' PATH\n"
    "  --warm-python SEC     keep a started interpreter for so long after a run of Python (300; 0: none)\n"
    "  --preload NAMES       modules that it loads ahead, separated by commas\n"
    "  --oom-events FILE     memory.events or memory.oom_control of the sandbox's cgroup\n"
    "  --hosts               write localhost to an /etc/hosts that is missing or empty\n"
    "  --lo                  bring the loopback interface up\n"
    "  --close-lxc           make lxcfs read-only, and hide /dev/fuse, /dev/net/tun and /proc/keys; needs\n"
    "                        CAP_SYS_ADMIN\n"
    "  --address A/PREFIX    give eth0, or the only other interface, this IPv4 address, and turn its IPv6 "
    "off\n"
    "  --gateway A           the default route goes there; of the same network\n"
    "  --nameserver A        replace /etc/resolv.conf by this one\n"
    "  --block-routes CIDRS  make these address ranges unreachable (comma separated)\n"
    "  --seccomp FILE        a BPF program (struct sock_filter) that holds the agent and all commands\n"
    "  --version, --help\n";

Result<Options> ParseOptions(const std::vector<std::string>& arguments);

}  // namespace csb::agent
