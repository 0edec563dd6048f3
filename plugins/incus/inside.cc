// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/inside.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <sstream>

#include "plugins/common/limit_text.h"
#include "plugins/common/readback.h"
#include "plugins/incus/instance_spec.h"
#include "plugins/incus/limits.h"
#include "plugins/incus/storage.h"

namespace csb::incus {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kFirstPause{100}, kLongestPause{2'000};

}  // namespace

Result<Enforced> ReadBackInside(AgentChannel& channel, const Limits& limits, const Options& options,
                                const std::string& driver, const HostLimits& host) {
  ReadBackContext context;
  context.limits = limits;
  context.agent = kAgentInside;
  context.workspace = kWorkspaceInside;
  context.storage = driver;
  context.machine = options.vm;
  context.host = host;
  context.words = {.disk = "size of the volume, as the pool's " + driver + " holds it",
                   .own_network = "",
                   .joined_network = "the named network is joined as it is",
                   .userns = options.vm
                                 ? "a kernel of its own"
                                 : "user namespace with a range of ids of its own (security.idmap.isolated)",
                   .no_userns = options.vm ? "a kernel of its own; user code has a uid without capabilities"
                                           : "the instance is privileged"};
  auto enforced = ReadBack(channel, context);
  if (!enforced) return enforced;
  Enforcement& disk = (*enforced)["disk"];
  // A quota of btrfs does not show in what statvfs(2) tells inside.
  if (limits.disk > 0 && !disk.enforced && EnforcesSize(driver))
    disk = {true, FormatSize(limits.disk), "quota of the volume on the pool's " + driver};
  Enforcement& network = (*enforced)["network"];
  if (limits.network == "bridge" && network.value != "none")
    network = {
        true, "bridge",
        "managed bridge: ports isolated from each other, private ranges and this machine rejected by an "
        "access list"};
  return enforced;
}

bool HasPython(AgentChannel& channel) { return SucceedsInside(channel, "command -v python3 >/dev/null"); }

std::vector<std::string> InstallPython() {
  return {
      "/bin/sh", "-c",
      "if command -v apt-get; then export DEBIAN_FRONTEND=noninteractive; apt-get -q update && apt-get -qy "
      "install --no-install-recommends python3 python3-pip; elif command -v apk; then apk add python3 "
      "py3-pip; elif command -v dnf; then dnf -qy install python3 python3-pip; elif command -v zypper; then "
      "zypper -nq install python3 python3-pip; else echo 'no package manager that is known' >&2; exit 1; "
      "fi >/dev/null"};
}

Result<int> CountBridges(Engine& engine, const std::string& instance) {
  auto ran = engine.Run(instance, {"/bin/ls", kBridgesInside}, kAskLimit);
  if (!ran) return ran.error();
  if (ran->exit_code != 0)
    return Error{CSB_E_UNAVAILABLE, "cannot list the hosts of " + instance + ": " + ran->err, "", true};
  std::istringstream lines(ran->out);
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += line.ends_with(".sock");
  return count;
}

Result<uint64_t> UsedByRoot(Engine& engine, const std::string& instance) {
  auto ran = engine.Run(instance, {"/usr/bin/du", "-sxk", "/"}, kChangeLimit);
  if (!ran) return ran.error();
  uint64_t blocks = 0;
  // It exits with 1 where it was not let in somewhere, and tells the sum all the same.
  const auto [end, error] = std::from_chars(ran->out.data(), ran->out.data() + ran->out.size(), blocks);
  if (error != std::errc() || end == ran->out.data() || blocks > (uint64_t{1} << 40)) return uint64_t{0};
  return (blocks << 10) + (blocks << 10) / 16 + (16 << 20);
}

Status AwaitMachine(Engine& engine, const std::string& instance, Engine::Limit limit,
                    const Conversation& talk) {
  struct Caller {
    std::mutex mutex;
    std::condition_variable changed;
    bool gone = false;
  };
  const auto caller = std::make_shared<Caller>();
  talk.when_cancelled([caller] {
    const std::lock_guard lock(caller->mutex);
    caller->gone = true;
    caller->changed.notify_all();
  });
  const auto until = Clock::now() + limit;
  milliseconds pause = kFirstPause;
  for (;;) {
    auto state = engine.State(instance, kAskLimit);
    if (!state && state.error().code == CSB_E_NOT_FOUND) return state.error();
    if (state && state->status == "Stopped")
      return Error{
          CSB_E_UNAVAILABLE, "the virtual machine " + instance + " stopped while it booted",
          "an unsigned kernel does not boot with secure boot: incus.secureboot=false; incus console " +
              instance + " --show-log tells more",
          false};
    if (state && state->processes >= 0) return {};
    if (Clock::now() + pause > until)
      return Error{CSB_E_UNAVAILABLE,
                   "the virtual machine " + instance + " did not come up within " +
                       std::to_string(limit.count() / 1000) + " s: its incus-agent does not answer",
                   "does the image have incus-agent? incus console " + instance + " --show-log tells more",
                   true};
    // The server has no event for it: the machine's agent is asked for its processes.
    std::unique_lock lock(caller->mutex);
    if (caller->changed.wait_for(lock, pause, [&] { return caller->gone; }))
      return Error{CSB_E_CANCELLED, "the caller gave up while the virtual machine booted", "", true};
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace csb::incus
