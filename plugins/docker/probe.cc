// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/probe.h"

#include <unistd.h>

#include <algorithm>

#include "plugins/common/limit_text.h"

namespace csb::docker {
namespace {

// The backend has just asked when it starts, and some engines take a second to answer.
constexpr Engine::Limit kRecent{2'000};

struct Findings {
  EngineInfo engine;
  std::string reason, hint;
  std::string note;  // what a user should know though it works
  std::string channel;

  bool ok() const { return reason.empty(); }
  void Fail(const Error& error) {
    reason = error.message;
    hint = error.hint;
  }
};

void LookForImage(const Options& options, Engine& engine, Launcher& launcher, Findings& f) {
  auto image = engine.Image(options.image, kProbeLimit);
  if (image) {
    auto channel = launcher.Channel(image->id);
    if (!channel) return f.Fail(channel.error());
    f.channel = *channel == ChannelKind::kSocket ? "socket" : "exec";
    return;
  }
  if (image.error().code != CSB_E_NOT_FOUND) return f.Fail(image.error());
  f.reason = "the engine has no image " + options.image;
  f.hint =
      "build or import it (deploy/sandbox-image/build makes one without a registry), and set "
      "DOCKER_SANDBOX_IMAGE (docker.image) to its name";
  if (!options.pull) return;
  const Status pullable = engine.Pullable(options.image, kProbeLimit);
  if (!pullable) {
    f.reason += ", and it can't be pulled: " + pullable.error().message;
    return;
  }
  f.note = "the image " + options.image + " is pulled by the first create";
  f.reason.clear();
  f.hint.clear();
}

Findings Look(const Options& options, Engine& engine, Launcher& launcher) {
  Findings f;
  auto info = engine.Info(kProbeLimit, kRecent);
  if (!info) {
    f.Fail(info.error());
    return f;
  }
  f.engine = *info;
  if (access(options.agent.c_str(), X_OK) != 0) {
    f.reason = "the agent is missing (" + options.agent + ")";
    f.hint = "build it, or set docker.agent";
    return f;
  }
  const auto& runtimes = info->runtimes;
  if (!options.runtime.empty() &&
      std::find(runtimes.begin(), runtimes.end(), options.runtime) == runtimes.end()) {
    std::string known;
    for (const std::string& runtime : runtimes) known += (known.empty() ? "" : ", ") + runtime;
    f.reason = "docker.runtime: the engine has no runtime " + options.runtime + " (it has: " + known + ")";
    f.hint =
        "add it to the engine (dockerd --add-runtime, or \"runtimes\" in daemon.json), or unset "
        "docker.runtime";
    return f;
  }
  const std::string& network = options.limits.network;
  if (network != "none" && network != "bridge") {
    const Status found = engine.FindNetwork(network, kProbeLimit);
    if (!found && found.error().code == CSB_E_NOT_FOUND) {
      f.reason = "docker.network: the engine has no network " + network;
      f.hint = "docker network create " + network + ", or docker.network=none or bridge";
      return f;
    }
  }
  LookForImage(options, engine, launcher, f);
  return f;
}

Enforced Expected(const Options& options, const EngineInfo& engine) {
  const Limits& limits = options.limits;
  const std::string runtime = options.runtime.empty() ? engine.default_runtime : options.runtime;
  const std::string by = "cgroup v" + std::to_string(engine.cgroup_version) + " ";
  const auto one = [&](bool held, const char* controller, bool wanted, std::string value) -> Enforcement {
    if (!wanted) return {false, "unlimited", "no limit is configured", false};
    if (!held) return {false, "unlimited", "the engine's kernel or control groups can't"};
    return {true, std::move(value), by + controller};
  };
  Enforced out;
  out["memory"] = one(engine.memory, "memory", limits.memory > 0, FormatSize(limits.memory));
  out["cpu"] = one(engine.cpu, "cpu", limits.cpu > 0, FormatCores(limits.cpu));
  out["pids"] = one(engine.pids, "pids", limits.pids > 0, std::to_string(limits.pids));
  out["disk"] = limits.disk > 0
                    ? Enforcement{true, FormatSize(limits.disk), "project quota of the engine's storage"}
                    : Enforcement{false, "unlimited", "no limit is configured", false};
  const bool ours = limits.network == "none" || limits.network == "bridge";
  out["network"] = {ours, limits.network,
                    ours ? "network namespace; private ranges unreachable by routes"
                         : "the named network is joined as it is"};
  const bool own_kernel =
      runtime.find("runsc") != std::string::npos || runtime.find("kata") != std::string::npos;
  if (own_kernel)
    out["seccomp"] = {false, "off",
                      "no filter inside; the runtime's own kernel takes the calls (" + runtime + ")"};
  else
    out["seccomp"] = {true, "filter",
                      options.seccomp.empty()       ? "our allowlist"
                      : options.seccomp == "docker" ? "the engine's default profile"
                                                    : "the configured profile"};
  const bool userns = engine.rootless || engine.userns_remap;
  out["userns"] = {
      userns, userns ? "user namespace" : "host",
      userns ? "userns-remap or rootless" : "the engine remaps no uids; user code has no capability"};
  out["no_new_privs"] = {
      !own_kernel, own_kernel ? "unknown" : "1",
      own_kernel ? "the runtime's own kernel does not tell" : "prctl(PR_SET_NO_NEW_PRIVS)"};
  return out;
}

std::string Write(const Options& options, const Findings& f, const std::string& isolation) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "available", f.ok());
  json::Member(w, "reason", f.ok() ? f.note : f.reason);
  json::Member(w, "hint", f.hint);
  json::Member(w, "version", f.engine.version.empty() ? "" : f.engine.name + " " + f.engine.version);
  json::Member(w, "isolation", isolation);
  // Behind an exec session the engine has a hand in every byte.
  json::Member(w, "own_channel", f.channel == "socket");
  json::Key(w, "enforces");
  WriteEnforced(w, f.engine.version.empty() ? Enforced() : Expected(options, f.engine));
  json::Key(w, "details");
  w.StartObject();
  const auto tell = [&w](const char* name, const std::string& value) {
    if (!value.empty()) json::Member(w, name, value);
  };
  tell("host", options.host);
  tell("api", f.engine.api);
  tell("image", options.image);
  tell("channel", f.channel);
  tell("storage", f.engine.storage);
  tell("runtime", options.runtime.empty() ? f.engine.default_runtime : options.runtime);
  tell("workspaces", options.data_dir.empty() ? "volumes" : options.data_dir);
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

std::string Probe(const Options& options, Engine& engine, Launcher& launcher) {
  const Findings f = Look(options, engine, launcher);
  return Write(options, f, f.engine.version.empty() ? "" : launcher.Isolation(f.engine));
}

std::string Unavailable(const Options& options, const Error& error) {
  Findings f;
  f.Fail(error);
  return Write(options, f, "");
}

}  // namespace csb::docker
