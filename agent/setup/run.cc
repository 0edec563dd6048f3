// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/run.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>

#include "agent/base/log.h"
#include "agent/bridge/bridge.h"
#include "agent/channel/server.h"
#include "agent/command/python.h"
#include "agent/report/report.h"
#include "agent/setup/agent_lock.h"
#include "agent/setup/background.h"
#include "agent/setup/folders.h"
#include "agent/setup/mounts.h"
#include "agent/setup/network.h"
#include "agent/setup/options.h"
#include "agent/setup/privileges.h"
#include "agent/setup/seccomp.h"
#include "agent/setup/stop_init.h"

namespace csb::agent {
namespace {

int Fail(const Error& error) {
  Log("%s%s%s", error.message.c_str(), error.hint.empty() ? "" : "; ", error.hint.c_str());
  return 1;
}

// Every command takes up to five descriptors here; commands get the old limits back.
void RaiseFileLimit(Identity& identity) {
  if (getrlimit(RLIMIT_NOFILE, &identity.files) < 0) return;
  rlimit raised = identity.files;
  raised.rlim_cur = raised.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) < 0) Log("cannot raise the limit of open files: %s", strerror(errno));
}

// 0, 1 and 2 are never left free for a pipe to take.
bool KeepStandardFds() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return false;
  return true;
}

// The folders that the agent makes, and the right to serve them where it is not the only one who could.
Result<AgentLock> OwnFolders(const Options& options) {
  for (const auto& folder : {options.make_control ? options.server.control : "", options.server.bridges})
    if (!folder.empty())
      if (auto made = MakeControlFolder(folder); !made) return made.error();
  const std::string own = OwnFolder(options);
  if (own.empty() || getpid() == 1) return AgentLock{};
  return TakeAgentLock(own);
}

Status SetUp(Options& options) {
  std::vector<sock_filter> seccomp;
  if (!options.seccomp.empty()) {
    auto program = ReadSeccompProgram(options.seccomp);
    if (!program) return program.error();
    seccomp = std::move(*program);
  }
  if (options.close_lxc) {
    if (auto closed = MakeMountsReadOnly("fuse.lxcfs"); !closed) return closed;
    if (auto hidden = HideFiles({"/dev/fuse", "/dev/net/tun", "/proc/keys"}); !hidden) return hidden;
  }
  if (options.own_workspace)
    if (auto owned = OwnWorkspace(options.server.identity); !owned) return owned;
  if (options.loopback && HasCapability(CAP_NET_ADMIN))
    if (auto up = BringUpLoopback(); !up) return up;
  if (options.hosts) NameLoopback("/etc/hosts");
  if (auto set = SetUpIpv4(options.ipv4); !set) return set;
  WriteNameServer("/etc/resolv.conf", options.ipv4);
  if (!options.block_routes.empty()) {
    auto ranges = ParseRanges(options.block_routes);
    if (!ranges) return ranges.error();
    if (auto blocked = BlockRanges(*ranges); !blocked) return blocked;
    if (auto kept = KeepReachable(options.ipv4, *ranges); !kept) return kept;
  }
  ChoosePython(options.server.commands, options.server.identity);
  RaiseFileLimit(options.server.identity);
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
    return Error{CSB_E_INTERNAL, std::string("cannot become a subreaper: ") + strerror(errno), "", false};
  if (options.server.fd >= 0 && fcntl(options.server.fd, F_SETFD, FD_CLOEXEC) < 0)
    return Error{CSB_E_INVALID, std::string("--fd: ") + strerror(errno), "give the number of an open socket",
                 false};
  if (auto dropped = DropPrivileges(options.server.identity); !dropped || seccomp.empty()) return dropped;
  return InstallSeccomp(seccomp);
}

int Bridge(const BridgeOptions& options) {
  if (auto dropped = DropPrivileges({}); !dropped) return Fail(dropped.error());
  if (auto bridged = RunBridge(options); !bridged) return Fail(bridged.error());
  return 0;
}

int ServeHosts(Options& options, StartReport& report) {
  const auto lock = OwnFolders(options);
  if (!lock) return Fail(lock.error());
  if (!lock->ours) {
    Log("process %d serves %s already", static_cast<int>(lock->holder), OwnFolder(options).c_str());
    return options.background ? 0 : 1;
  }
  if (auto ready = SetUp(options); !ready) return Fail(ready.error());
  Loop loop;
  if (!loop.ok()) return Fail({CSB_E_INTERNAL, std::string("epoll: ") + strerror(errno), "", false});
  Server server(loop, options.server);
  if (auto started = server.Start(); !started) return Fail(started.error());
  report.Tell(0);
  loop.Run();
  if (options.stop_init && server.is_done_with_machine())
    if (auto stopped = StopInit(); !stopped) return Fail(stopped.error());
  return 0;
}

int Serve(const std::vector<std::string>& arguments) {
  auto options = ParseOptions(arguments);
  if (!options) return Fail(options.error());
  if (options->help) return fputs(kUsage.data(), stdout) < 0;
  if (options->version) return printf("clara-sandbox-agent %s\n", CSB_VERSION) < 0;
  if (options->report)
    return puts(Report(options->server.commands.workspace).c_str()) < 0 || fflush(stdout) != 0;
  // Without them a socket of ours would become descriptor 1 or 2.
  if (!KeepStandardFds()) return Fail({CSB_E_INTERNAL, "cannot open /dev/null", "", false});
  if (!options->bridge.folder.empty()) return Bridge(options->bridge);
  StartReport report;
  if (options->background) {
    auto detached = Detach();
    if (!detached) return Fail(detached.error());
    report = std::move(*detached);
  }
  const int code = ServeHosts(*options, report);
  report.Tell(code);
  return code;
}

}  // namespace

int RunAgent(const std::vector<std::string>& arguments) {
  try {
    return Serve(arguments);
  } catch (const std::exception& e) {
    Log("fatal: %s", e.what());
    return 1;
  }
}

}  // namespace csb::agent
