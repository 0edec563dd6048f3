// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/probe.h"

#include <unistd.h>

#include <algorithm>

#include "plugins/common/limit_text.h"
#include "plugins/incus/storage.h"

namespace csb::incus {
namespace {

// The backend has just asked when it starts.
constexpr Engine::Limit kRecent{2'000};

struct Findings {
  ServerInfo server;
  PoolInfo pool;
  std::string reason, hint;
  std::string note;  // what a user should know though it works
  std::string channel, members;
  bool own_channel = false;

  bool ok() const { return reason.empty(); }
  void Fail(const Error& error) {
    reason = error.message;
    hint = error.hint;
  }
  void Note(const std::string& text) { note += (note.empty() ? "" : "; ") + text; }
};

void LookForMachines(Engine& engine, Findings& f) {
  if (f.server.RunsVms()) return;
  f.reason = "this Incus server runs no virtual machines";
  if (auto why = engine.WhyNoMachines(kProbeLimit); why && !why->empty()) f.reason += ": " + *why;
  f.hint =
      "its machine needs KVM (/dev/kvm) and `modprobe vhost_vsock`, and the package incus-base's "
      "recommendations qemu-system and ovmf; then restart incus; or set INCUS_SANDBOX_TYPE=container";
}

void LookAround(const Options& options, Engine& engine, Launcher& launcher, Findings& f) {
  auto pool = launcher.Storage();
  if (!pool) return f.Fail(pool.error());
  f.pool = *pool;
  if (const std::string cost = CostOf(f.pool); !cost.empty()) f.Note(cost);
  if (options.limits.disk > 0 && !EnforcesSize(f.pool.driver)) {
    f.reason =
        "incus.disk: the storage pool " + f.pool.name + " (" + f.pool.driver + ") can't enforce a size";
    f.hint = "use a pool of btrfs, zfs or lvm (incus.pool), or unset INCUS_SANDBOX_DISK";
    return;
  }
  const std::string& network = options.limits.network;
  if (network != "none" && network != "bridge") {
    auto found = engine.Network(network, kProbeLimit);
    if (!found && found.error().code == CSB_E_NOT_FOUND) {
      f.reason = "incus.network: the server has no network " + network;
      f.hint = "incus network create " + network + ", or incus.network=none or bridge";
      return;
    }
  }
  for (const std::string& profile : options.profiles)
    if (auto found = engine.Profile(profile, kProbeLimit); !found) {
      f.Fail(found.error());
      if (found.error().code == CSB_E_NOT_FOUND)
        f.hint = "incus profile create " + profile + ", or take it out of incus.profiles";
      return;
    }
  auto image = launcher.FindImage(options.image);
  if (!image) return f.Fail(image.error());
  if (!image->ref.local)
    f.Note("the image " + options.image + " is fetched by the server with the first create");
  auto channel = launcher.Channel();
  if (!channel) return f.Fail(channel.error());
  f.channel = *channel == ChannelKind::kSocket ? "socket" : "exec";
  // A session through a server that hangs is noticed only where silence is looked for.
  f.own_channel = *channel == ChannelKind::kSocket || launcher.WatchesSilence(f.server.clustered);
}

Findings Look(const Options& options, Engine& engine, Launcher& launcher) {
  Findings f;
  auto info = engine.Info(kProbeLimit, kRecent);
  if (!info) {
    f.Fail(info.error());
    return f;
  }
  f.server = *info;
  if (access(options.agent.c_str(), X_OK) != 0) {
    f.reason = "the agent is missing (" + options.agent + ")";
    f.hint = "build it, or set incus.agent";
    return f;
  }
  if (options.vm) LookForMachines(engine, f);
  if (f.ok()) LookAround(options, engine, launcher, f);
  if (f.server.clustered)
    if (auto members = engine.Members(kProbeLimit)) {
      for (const MemberInfo& member : *members)
        f.members += (f.members.empty() ? "" : ", ") + member.name +
                     (member.online() ? "" : " (" + member.status + ")");
    }
  return f;
}

Enforced Expected(const Options& options, const Findings& f) {
  const Limits& limits = options.limits;
  const auto one = [&](bool wanted, std::string value, const char* by) -> Enforcement {
    if (!wanted) return {false, "unlimited", "no limit is configured", false};
    return {true, std::move(value), by};
  };
  Enforced out;
  out["memory"] = one(limits.memory > 0, FormatSize(limits.memory),
                      options.vm ? "size of the virtual machine" : "limits.memory, hard, without swap");
  out["cpu"] = one(limits.cpu > 0, FormatCores(options.vm ? std::max(1.0, limits.cpu) : limits.cpu),
                   options.vm ? "processors of the virtual machine" : "limits.cpu.allowance, a hard quota");
  out["pids"] = options.vm ? Enforcement{true, "own kernel", "a fork bomb stays in the machine"}
                           : one(limits.pids > 0, std::to_string(limits.pids), "limits.processes");
  out["disk"] = one(limits.disk > 0, FormatSize(limits.disk), "size of the volume");
  if (out["disk"].enforced) out["disk"].by += " on " + f.pool.driver;
  const bool ours = limits.network == "none" || limits.network == "bridge";
  out["network"] = {ours, limits.network,
                    limits.network == "none" ? "no interface"
                    : ours                   ? "managed bridge with an access list, ports isolated"
                                             : "the named network is joined as it is"};
  out["seccomp"] = {true, "filter", "our allowlist, loaded by the agent"};
  out["userns"] = {true, options.vm ? "own kernel" : "isolated",
                   options.vm ? "virtual machine" : "security.idmap.isolated"};
  out["no_new_privs"] = {true, "1", "prctl(PR_SET_NO_NEW_PRIVS)"};
  return out;
}

std::string Write(const Options& options, const Findings& f, const std::string& isolation) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "available", f.ok());
  json::Member(w, "reason", f.ok() ? f.note : f.reason);
  json::Member(w, "hint", f.hint);
  json::Member(w, "version", f.server.version.empty() ? "" : "Incus " + f.server.version);
  json::Member(w, "isolation", isolation);
  json::Member(w, "own_channel", f.own_channel);
  json::Key(w, "enforces");
  WriteEnforced(w, f.server.version.empty() ? Enforced() : Expected(options, f));
  json::Key(w, "details");
  w.StartObject();
  const auto tell = [&w](const char* name, const std::string& value) {
    if (!value.empty()) json::Member(w, name, value);
  };
  tell("remote", options.remote.name);
  tell("project", options.remote.project);
  tell("type", options.vm ? "vm" : "container");
  tell("image", options.image);
  tell("channel", f.channel);
  tell("storage", f.pool.name.empty() ? "" : f.pool.name + " (" + f.pool.driver + ")");
  tell("members", f.members);
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

std::string Probe(const Options& options, Engine& engine, Launcher& launcher) {
  return Write(options, Look(options, engine, launcher), launcher.Isolation());
}

std::string Unavailable(const Options& options, const Error& error) {
  Findings f;
  f.Fail(error);
  return Write(options, f, "");
}

}  // namespace csb::incus
