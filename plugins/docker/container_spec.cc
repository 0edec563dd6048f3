// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/container_spec.h"

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "plugins/common/seccomp_policy.h"
#include "plugins/common/user_environment.h"
#include "plugins/docker/engine_json.h"

namespace csb::docker {
namespace {

constexpr uint64_t kMostTmp = 1 << 30;
constexpr uint64_t kMostShm = 64 << 20;

void Strings(json::Writer& w, const char* key, const std::vector<std::string>& values) {
  json::Key(w, key);
  w.StartArray();
  for (const std::string& value : values) json::String(w, value);
  w.EndArray();
}

std::string_view NameOf(std::string_view variable) { return variable.substr(0, variable.find('=')); }

// The image's own, but for what every sandbox has alike.
std::vector<std::string> Environment(const std::vector<std::string>& image) {
  std::string_view path = kSystemPath;
  for (const std::string& variable : image)
    if (NameOf(variable) == "PATH" && variable.size() > 5) path = std::string_view(variable).substr(5);
  std::vector<std::string> out = UserEnvironment(path);
  const size_t ours = out.size();
  for (const std::string& variable : image) {
    const std::string_view name = NameOf(variable);
    const bool known = std::any_of(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(ours),
                                   [&](const std::string& own) { return NameOf(own) == name; });
    if (!known && !name.empty() && name.size() < variable.size()) out.push_back(variable);
  }
  return out;
}

std::vector<std::string> AgentCommand(const Options& options, const ContainerSpec& spec) {
  std::vector<std::string> out = {AgentInside(spec.channel),
                                  "--control",
                                  kControlInside,
                                  "--workspace",
                                  kWorkspaceInside,
                                  "--own-workspace",
                                  "--hosts",
                                  "--user",
                                  std::to_string(options.user),
                                  "--group",
                                  std::to_string(options.group),
                                  "--idle-timeout",
                                  std::to_string(options.idle_timeout),
                                  "--python",
                                  "auto"};
  out.insert(out.end(), options.python_options.begin(), options.python_options.end());
  if (!spec.blocked.empty()) out.insert(out.end(), {"--block-routes", spec.blocked});
  for (const std::string& variable : Environment(spec.env)) {
    out.push_back("--env");
    out.push_back(variable);
  }
  return out;
}

// All are given up by the agent before it runs anything of a user: it keeps SETUID, SETGID and KILL, to
// start commands as the user and to end them.
std::vector<std::string> Capabilities(const ContainerSpec& spec) {
  std::vector<std::string> out = {"SETUID", "SETGID", "KILL", "SETPCAP", "CHOWN"};
  if (!spec.blocked.empty()) out.push_back("NET_ADMIN");
  return out;
}

void Mount(json::Writer& w, const char* type, const std::string& source, const std::string& target,
           bool read_only) {
  w.StartObject();
  json::Member(w, "Type", type);
  json::Member(w, "Source", source);
  json::Member(w, "Target", target);
  json::Member(w, "ReadOnly", read_only);
  if (std::string_view(type) == "volume") {
    // Else the image's /workspace, owned by whomever, is copied in.
    json::Key(w, "VolumeOptions");
    w.StartObject();
    json::Member(w, "NoCopy", true);
    w.EndObject();
  }
  w.EndObject();
}

void Mounts(json::Writer& w, const Options& options, const ContainerSpec& spec) {
  json::Key(w, "Mounts");
  w.StartArray();
  if (!spec.volume.empty())
    Mount(w, "volume", spec.volume, kWorkspaceInside, false);
  else if (!spec.folder.empty())
    Mount(w, "bind", spec.folder, kWorkspaceInside, false);
  if (spec.channel == ChannelKind::kSocket) {
    Mount(w, "bind", options.agent, AgentInside(spec.channel), true);
    Mount(w, "bind", spec.control, kControlInside, true);
  } else if (!spec.agent_volume.empty()) {
    Mount(w, "volume", spec.agent_volume, "/run/clara/bin", true);
  }
  w.EndArray();
  json::Key(w, "Tmpfs");
  w.StartObject();
  const uint64_t memory = spec.limits.memory;
  uint64_t tmp = options.tmp_bytes;
  if (tmp == 0) tmp = memory == 0 ? kMostTmp : std::min(kMostTmp, memory / 4);
  json::Member(w, "/tmp", "rw,exec,nosuid,nodev,mode=1777,size=" + std::to_string(tmp));
  if (options.read_only)
    json::Member(w, "/var/tmp", "rw,exec,nosuid,nodev,mode=1777,size=" + std::to_string(tmp));
  if (spec.channel == ChannelKind::kExec)
    json::Member(w, kControlInside, "rw,noexec,nosuid,nodev,mode=0700,size=65536");
  w.EndObject();
  json::Member(w, "ShmSize", memory == 0 ? kMostShm : std::min(kMostShm, memory / 4));
}

void Ulimits(json::Writer& w) {
  json::Key(w, "Ulimits");
  w.StartArray();
  const auto one = [&](const char* name, int soft, int hard) {
    w.StartObject();
    json::Member(w, "Name", name);
    json::Member(w, "Soft", soft);
    json::Member(w, "Hard", hard);
    w.EndObject();
  };
  one("core", 0, 0);
  // No more than the daemon itself may have, or nothing starts; 20,000 is the least that was met.
  one("nofile", 1024, 16'384);
  w.EndArray();
}

void WriteHostConfig(json::Writer& w, const Options& options, const ContainerSpec& spec) {
  const Limits& limits = spec.limits;
  json::Member(w, "NetworkMode", spec.network.empty() ? std::string("none") : spec.network);
  if (limits.memory > 0) {
    json::Member(w, "Memory", limits.memory);
    json::Member(w, "MemorySwap", limits.memory);  // of both together: no swap
  }
  if (limits.cpu > 0) json::Member(w, "NanoCpus", static_cast<int64_t>(std::llround(limits.cpu * 1e9)));
  if (limits.pids > 0) json::Member(w, "PidsLimit", limits.pids + kAgentPids);
  if (limits.disk > 0) {
    json::Key(w, "StorageOpt");
    w.StartObject();
    json::Member(w, "size", std::to_string(limits.disk));
    w.EndObject();
  }
  Strings(w, "CapDrop", {"ALL"});
  Strings(w, "CapAdd", Capabilities(spec));
  std::vector<std::string> security = {"no-new-privileges:true"};
  if (!spec.seccomp_file.empty())
    security.push_back("seccomp=" + spec.seccomp_file);
  else if (const std::string profile = ProfileOf(options); !profile.empty())
    security.push_back("seccomp=" + profile);
  Strings(w, "SecurityOpt", security);
  json::Member(w, "IpcMode", "private");
  json::Member(w, "CgroupnsMode", "private");
  json::Member(w, "ReadonlyRootfs", options.read_only);
  json::Member(w, "Init", false);
  if (!options.runtime.empty()) json::Member(w, "Runtime", options.runtime);
  Mounts(w, options, spec);
  Ulimits(w);
  json::Key(w, "LogConfig");
  w.StartObject();
  json::Member(w, "Type", spec.log ? "json-file" : "none");
  w.EndObject();
  json::Key(w, "RestartPolicy");
  w.StartObject();
  json::Member(w, "Name", "no");
  w.EndObject();
}

}  // namespace

std::string AgentInside(ChannelKind channel) {
  return channel == ChannelKind::kSocket ? "/run/clara/agent" : "/run/clara/bin/clara-sandbox-agent";
}

std::string ContainerBody(const Options& options, const ContainerSpec& spec) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "Image", spec.image);
  json::Member(w, "Hostname", "sandbox");
  json::Member(w, "User", "0:0");
  json::Member(w, "WorkingDir", "/");
  Strings(w, "Entrypoint", {});
  Strings(w, "Cmd", AgentCommand(options, spec));
  json::Member(w, "Tty", false);
  // The agent takes SIGTERM for its host's wish to end all; an engine that stops a container is no such wish.
  json::Member(w, "StopSignal", "SIGKILL");
  // Twice as fast as the mode "none" alone; but then /etc/hosts is the image's, and the agent has to write
  // it.
  json::Member(w, "NetworkDisabled", spec.network.empty() && !options.read_only);
  json::Key(w, "Healthcheck");
  w.StartObject();
  Strings(w, "Test", {"NONE"});
  w.EndObject();
  json::Key(w, "Labels");
  WriteLabels(w, spec.labels);
  json::Key(w, "HostConfig");
  w.StartObject();
  WriteHostConfig(w, options, spec);
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string ProfileOf(const Options& options) {
  if (options.seccomp.empty()) return SeccompProfile();
  return options.seccomp == "docker" ? std::string() : options.seccomp;
}

std::string SeccompProfile() {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "defaultAction", "SCMP_ACT_ERRNO");
  json::Member(w, "defaultErrnoRet", ENOSYS);
  json::Key(w, "syscalls");
  w.StartArray();
  const auto rule = [&](const SeccompRule& r) {
    w.StartObject();
    Strings(w, "names", {r.name});
    json::Member(w, "action", r.error == 0 ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO");
    if (r.error != 0) json::Member(w, "errnoRet", r.error);
    json::Key(w, "args");
    w.StartArray();
    for (const SeccompArg& arg : r.when) {
      w.StartObject();
      json::Member(w, "index", arg.index);
      json::Member(w, "value", arg.mask);
      json::Member(w, "valueTwo", arg.value);
      json::Member(w, "op", "SCMP_CMP_MASKED_EQ");
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
  };
  for (const SeccompRule& r : SeccompPolicy()) rule(r);
  // By name, for engines that do not know defaultErrnoRet: EPERM would keep libraries from falling back.
  rule({"clone3", ENOSYS, {}});
  w.EndArray();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace csb::docker
