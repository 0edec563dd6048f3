// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/instance_spec.h"

#include <algorithm>
#include <cmath>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/user_environment.h"

namespace csb::incus {
namespace {

constexpr uint64_t kMostTmp = 1 << 30;
constexpr uint64_t kMostShm = 64 << 20;

void WriteConfig(json::Writer& w, const Config& config) {
  w.StartObject();
  for (const auto& [key, value] : config) json::Member(w, key.c_str(), value);
  w.EndObject();
}

std::string Tmpfs(const char* target, uint64_t size, const char* more) {
  return std::string("lxc.mount.entry = tmpfs ") + target + " tmpfs rw,nosuid,nodev,mode=1777," + more +
         "size=" + std::to_string(size) + ",create=dir 0 0\n";
}

// LXC splits a command at blanks; nothing that is given here has one.
std::string RawLxc(const Options& options, const InstanceSpec& spec) {
  const uint64_t memory = spec.limits.memory;
  uint64_t tmp = options.tmp_bytes;
  if (tmp == 0) tmp = memory == 0 ? kMostTmp : std::min(kMostTmp, memory / 4);
  std::string out;
  if (!spec.init.empty()) return "lxc.init.cmd = " + spec.init + "\n";
  if (options.boot == Boot::kAgent) {
    out = "lxc.init.cmd =";
    for (const std::string& word : AgentCommand(options, spec)) out += " " + word;
    out += "\n";
    // An init of ours mounts nothing. `force`: else LXC leaves control groups to a namespace that nobody
    // mounts them in.
    out += "lxc.mount.auto = cgroup:ro:force proc:mixed sys:ro\n";
    out += Tmpfs("tmp", tmp, "");
  } else {
    // For what the agent reads of its limits; an init such as systemd needs its own groups to be writable.
    out += "lxc.mount.auto = cgroup:mixed:force\n";
  }
  out += Tmpfs("dev/shm", memory == 0 ? kMostShm : std::min(kMostShm, memory / 4), "noexec,");
  return out;
}

Config ConfigOf(const Options& options, const InstanceSpec& spec) {
  const Limits& limits = spec.limits;
  Config out = options.extra;
  out.insert(spec.labels.begin(), spec.labels.end());
  out["boot.autostart"] = "false";
  if (limits.memory > 0) out["limits.memory"] = std::to_string(limits.memory);
  // /dev/incus tells whoever asks what stands in user.* keys.
  out["security.guestapi"] = "false";
  if (options.vm) {
    out["limits.cpu"] = std::to_string(std::max(1L, std::lround(std::ceil(limits.cpu))));
    if (!options.secureboot) out["security.secureboot"] = "false";
    return out;
  }
  if (limits.memory > 0) {
    out["limits.memory.enforce"] = "hard";
    out["limits.memory.swap"] = "false";
  }
  if (limits.cpu > 0) out["limits.cpu.allowance"] = CpuAllowance(limits.cpu);
  if (limits.pids > 0)
    out["limits.processes"] =
        std::to_string(limits.pids + (options.boot == Boot::kAgent ? kAgentPids : kImagePids));
  out["security.privileged"] = "false";
  out["security.nesting"] = "false";
  out["security.idmap.isolated"] = "true";
  out["security.syscalls.deny_compat"] = "true";
  out["raw.lxc"] = RawLxc(options, spec);
  return out;
}

Devices DevicesOf(const Options& options, const InstanceSpec& spec) {
  Devices out;
  out["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", spec.pool}};
  if (spec.root_size > 0) out["root"]["size"] = std::to_string(spec.root_size);
  if (!spec.volume.empty())
    // The name is short, as it is part of a socket's path, for which Linux has 107 bytes:
    // /var/lib/incus/devices/INSTANCE/virtio-fs.ws.sock.
    out["ws"] = {{"type", "disk"}, {"pool", spec.pool}, {"source", spec.volume}, {"path", kWorkspaceInside}};
  if (!options.vm && !spec.tools.empty())
    out["tools"] = {{"type", "disk"}, {"source", spec.tools}, {"path", kToolsInside}, {"readonly", "true"}};
  if (!options.vm && !spec.tools_volume.empty())
    out["tools"] = {{"type", "disk"},
                    {"pool", spec.pool},
                    {"source", spec.tools_volume},
                    {"path", kToolsInside},
                    {"readonly", spec.init.empty() ? "true" : "false"}};
  if (!options.vm && spec.channel == ChannelKind::kSocket && !spec.control.empty())
    // Shifted, so that inside it is root's and not nobody's, who owns all that comes from outside.
    out["control"] = {{"type", "disk"},
                      {"source", spec.control},
                      {"path", kControlInside},
                      {"readonly", "true"},
                      {"shift", "true"}};
  if (!spec.network.network.empty()) {
    Config& nic = out["eth0"] = {{"type", "nic"}, {"network", spec.network.network}, {"name", "eth0"}};
    if (!spec.network.address.empty()) nic["ipv4.address"] = spec.network.address;
    if (spec.network.ours) {
      // Away from the other sandboxes on the bridge, and under no address but its own: where none is given
      // here, the engine has its DHCP server give it always the same.
      nic["security.port_isolation"] = "true";
      nic["security.mac_filtering"] = "true";
      nic["security.ipv4_filtering"] = "true";
      nic["security.ipv6_filtering"] = "true";
    }
  }
  return out;
}

void WriteSource(json::Writer& w, const ImageRef& image) {
  json::Key(w, "source");
  w.StartObject();
  json::Member(w, "type", "image");
  if (!image.fingerprint.empty())
    json::Member(w, "fingerprint", image.fingerprint);
  else
    json::Member(w, "alias", image.alias);
  if (!image.local) {
    json::Member(w, "mode", "pull");
    json::Member(w, "server", image.server);
    json::Member(w, "protocol", image.protocol);
    if (!image.certificate.empty()) json::Member(w, "certificate", image.certificate);
  }
  w.EndObject();
}

}  // namespace

std::string CpuAllowance(double cores) {
  return std::to_string(std::max(1L, std::lround(cores * 100))) + "ms/100ms";
}

std::vector<std::string> AgentCommand(const Options& options, const InstanceSpec& spec) {
  std::vector<std::string> out = {kAgentInside, "--bridges", kBridgesInside};
  if (spec.channel == ChannelKind::kSocket) out.insert(out.end(), {"--control", kControlInside});
  out.insert(out.end(),
             {"--workspace", kWorkspaceInside, "--own-workspace", "--user", std::to_string(options.user),
              "--group", std::to_string(options.group), "--idle-timeout",
              std::to_string(options.idle_timeout), "--python", "auto", "--seccomp", kSeccompInside});
  out.insert(out.end(), options.python_options.begin(), options.python_options.end());
  if (!options.vm) out.push_back("--close-lxc");
  if (!options.vm && options.boot == Boot::kAgent) {
    out.insert(out.end(), {"--lo", "--hosts"});
    if (const Attachment& net = spec.network; !net.address.empty())
      out.insert(out.end(), {"--address", net.address + "/" + net.prefix, "--gateway", net.gateway,
                             "--nameserver", net.gateway});
    // The engine's list holds outside; this says sooner what can't be reached, and holds beside it.
    if (spec.network.ours && !spec.network.address.empty() && !options.blocked_ranges.empty())
      out.insert(out.end(), {"--block-routes", options.blocked_ranges});
  } else {
    out.insert(out.end(), {"--background", "--stop-init"});
  }
  for (const std::string& variable : UserEnvironment(kSystemPath)) {
    out.push_back("--env");
    out.push_back(variable);
  }
  return out;
}

std::string InstanceBody(const Options& options, const InstanceSpec& spec) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "name", spec.name);
  json::Member(w, "type", options.vm ? "virtual-machine" : "container");
  json::Member(w, "description", "a clara-sandbox sandbox");
  json::Key(w, "profiles");
  w.StartArray();
  for (const std::string& profile : options.profiles) json::String(w, profile);
  w.EndArray();
  json::Member(w, "start", spec.start);
  json::Key(w, "config");
  WriteConfig(w, ConfigOf(options, spec));
  json::Key(w, "devices");
  w.StartObject();
  for (const auto& [name, device] : DevicesOf(options, spec)) {
    json::Key(w, name.c_str());
    WriteConfig(w, device);
  }
  w.EndObject();
  WriteSource(w, spec.image);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace csb::incus
