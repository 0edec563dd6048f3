// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/probe.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "plugins/bubblewrap/enforced.h"
#include "plugins/bubblewrap/launch/request.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

// Of a bwrap that hangs; together less than the host waits for a probe that it has cancelled.
constexpr auto kStartLimit = std::chrono::milliseconds(4'000);
constexpr auto kEndLimit = std::chrono::milliseconds(3'000);

struct Finding {
  std::string reason, hint;
  bool ok() const { return reason.empty(); }
};

Finding CheckPrograms(const Options& options) {
  if (access(options.bwrap.c_str(), X_OK) != 0)
    return {"bubblewrap is not installed (" + options.bwrap + ")", "sudo apt-get install bubblewrap"};
  if (access(options.agent.c_str(), X_OK) != 0)
    return {"the agent is missing (" + options.agent + ")", "build it, or set bubblewrap.agent"};
  if (access(options.launcher.c_str(), X_OK) != 0)
    return {"the launcher is missing (" + options.launcher + ")", "build it, or set bubblewrap.launcher"};
  if (options.limits.network == Network::kPasta && access(options.pasta.c_str(), X_OK) != 0)
    return {"pasta is not installed (" + options.pasta + ")", "sudo apt-get install passt"};
  if (options.limits.network == Network::kPasta && options.uids.count == 0)
    return {"network=pasta needs two uids a sandbox: " + options.one_uid_reason,
            "run the host as root, or set bubblewrap.network=none"};
  return {};
}

std::string Version(const std::string& bwrap) {
  FILE* pipe = popen(("timeout -k 1 1 '" + bwrap + "' --version 2>/dev/null").c_str(), "re");
  if (pipe == nullptr) return {};
  char text[128] = {};
  const bool read = fgets(text, sizeof text, pipe) != nullptr;
  pclose(pipe);
  std::string out = read ? text : "";
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// Starts /usr/bin/true where the agent would be.
Finding Try(const Options& options, Builder& builder) {
  const std::string folder = options.runtime_dir + "/probe-" + std::to_string(getpid());
  const auto fail = [&](const Error& e) { return Finding{e.message, e.hint}; };
  std::error_code ignored;
  struct Remove {
    const std::string& folder;
    std::error_code& error;
    ~Remove() { std::filesystem::remove_all(folder, error); }
  } remove{folder, ignored};
  for (const char* name : {"/ctl", "/workspace"})
    if (Status s = MakeFolders(folder + name, 0711); !s) return fail(s.error());
  auto etc = MakeEtcFolder(options.runtime_dir, {});
  if (!etc) return fail(etc.error());
  auto filter = builder.seccomp();
  if (!filter) return fail(filter.error());

  const bool separate = options.uids.count > 0;
  LaunchSpec spec;
  spec.timeout = kStartLimit;
  spec.agent = options.agent;
  spec.control = folder + "/ctl";
  spec.etc = etc->folder;
  spec.workspace = folder + "/workspace";
  SandboxView view;
  view.bwrap = options.bwrap;
  view.separate_uids = separate;
  view.tmp_bytes = 1 << 20;
  view.etc_binds = etc->binds;
  view.wait_for_host = true;
  spec.before_command = [](pid_t) { return Status(); };
  view.agent = separate ? launch::kStagedAgent : spec.agent;
  view.control = separate ? launch::kStagedControl : spec.control;
  view.etc = separate ? launch::kStagedEtc : spec.etc;
  view.workspace = separate ? launch::kStagedWorkspace : spec.workspace;
  // The last pair of the range is kept for this.
  if (separate) {
    const uid_t last = options.uids.first + options.uids.count / 2 * 2 - 2;
    spec.uids = UidPair{last, last + 1};
  }
  spec.command = BwrapCommand(view);
  spec.command.erase(std::find(spec.command.begin(), spec.command.end(), "--") + 1, spec.command.end());
  // The agent's --version ends by itself, but not before bwrap was looked at.
  spec.command.insert(spec.command.end(), {kAgentInside, "--version"});
  auto slot = LaunchSlot::Start(options.launcher, *filter, {});
  if (!slot) return fail(slot.error());
  auto launched = slot->Go(spec);
  if (!launched) return fail(launched.error());
  if (!WaitEnd(launched->monitor_fd, kEndLimit)) {
    static_cast<void>(launched->monitor_fd.Signal(SIGKILL));  // it may end at this moment
    return {"bwrap does not end", "run it by hand: " + options.bwrap + " --ro-bind / / true"};
  }
  const std::string said = ReadComplaints(launched->complaints.get());
  if (said.find("bwrap:") != std::string::npos) return {"bwrap fails: " + said, ""};
  return {};
}

Enforced Expected(const Options& options, Builder& builder) {
  const CgroupParent& groups = builder.cgroups();
  const auto cgroup = [&](const Controller& c, const char* name, std::string value) -> Enforcement {
    if (c) return {true, std::move(value), "cgroup v" + std::to_string(c.version) + " " + name};
    return {false, "unlimited", groups.missing};
  };
  const Limits& limits = options.limits;
  const bool separate = options.uids.count > 0;
  const std::string cores = FormatCores(limits.cpu);
  Enforced out;
  out["memory"] = cgroup(groups.memory, "memory", FormatSize(limits.memory));
  if (!groups.memory && limits.memory > 0)
    out["memory"] = {false, FormatSize(limits.memory), groups.missing + kDataLimit};
  out["cpu"] = cgroup(groups.cpu, "cpu", cores);
  out["pids"] = cgroup(groups.pids, "pids", std::to_string(limits.pids));
  if (!groups.pids && limits.pids > 0 && builder.bounds_processes())
    out["pids"] = {true, std::to_string(limits.pids), kProcessLimit[separate ? 0 : 1]};
  const std::string images = separate ? builder.images_missing() : options.one_uid_reason;
  if (limits.disk == 0)
    out["disk"] = {false, "unlimited", "no limit is configured", false};
  else if (images.empty())
    out["disk"] = {true, FormatSize(limits.disk), "ext4 image of this size"};
  else
    out["disk"] = {false, FormatSize(limits.disk), images + "; each file alone is bounded (RLIMIT_FSIZE)"};
  const bool host_network = limits.network == Network::kHost;
  out["network"] = {!host_network, std::string(NameOf(limits.network)),
                    host_network ? "the host's network is shared, as configured" : "network namespace"};
  out["seccomp"] = {true, "filter", "seccomp allowlist"};
  out["userns"] = {true, separate ? "two uids for each user" : "one uid",
                   separate ? "user namespace" : "user namespace; " + options.one_uid_reason};
  out["no_new_privs"] = {true, "1", "prctl(PR_SET_NO_NEW_PRIVS)"};
  return out;
}

}  // namespace

std::string Probe(const Options& options, Builder& builder) {
  Finding finding = CheckPrograms(options);
  std::string version;
  if (finding.ok()) {
    version = Version(options.bwrap);
    finding = Try(options, builder);
  }
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "available", finding.ok());
  json::Member(w, "reason", finding.reason);
  json::Member(w, "hint", finding.hint);
  json::Member(w, "version", version);
  json::Member(w, "isolation", "namespaces, seccomp, control groups of the host's kernel (bubblewrap)");
  json::Member(w, "own_channel", true);
  json::Key(w, "enforces");
  WriteEnforced(w, Expected(options, builder));
  json::Key(w, "details");
  w.StartObject();
  json::Member(w, "bwrap", options.bwrap);
  json::Member(w, "agent", options.agent);
  json::Member(w, "data_dir", options.data_dir);
  json::Member(w, "separate_uids", options.uids.count > 0);
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace csb::bwrap
