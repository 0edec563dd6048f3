// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/options.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/plugin.h"
#include "plugins/common/folders.h"
#include "plugins/common/python_options.h"

namespace csb::incus {
namespace {

// Metadata services, private and shared ranges, link-local, benchmarking, reserved.
constexpr char kDefaultBlocked[] =
    "10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.168.0.0/16,198.18.0.0/"
    "15,240.0.0.0/4,"
    "fc00::/7,fe80::/10,fec0::/10";

constexpr csb_option kOptions[] = {
    Option({.key = "incus.remote",
            .env = "INCUS_REMOTE",
            .default_value = "local",
            .help =
                "The server or cluster: local, unix:///path, https://host:8443, or a remote's name in the "
                "incus client's own config."}),
    Option({.key = "incus.project",
            .env = "INCUS_PROJECT",
            .help = "The Incus project that sandboxes are made in. Unset: the remote's, else default."}),
    Option({.key = "incus.image",
            .env = "INCUS_SANDBOX_IMAGE",
            .default_value = "images:debian/12/cloud",
            .help =
                "The image of sandboxes, as the incus client writes it: remote:alias, a local alias, or a "
                "fingerprint."}),
    Option({.key = "incus.images",
            .help = "Other images that a create may ask for, separated by blanks; * for any that the server "
                    "has. Whoever may create a sandbox can read all that is in them."}),
    Option(
        {.key = "incus.type",
         .type = CSB_OPTION_CHOICE,
         .env = "INCUS_SANDBOX_TYPE",
         .default_value = "container",
         .help = "container or vm: a virtual machine with a kernel of its own. Mode incus-vm is always vm.",
         .choices = "container vm"}),
    Option({.key = "incus.boot",
            .type = CSB_OPTION_CHOICE,
            .default_value = "agent",
            .help = "Process 1 of a container: agent (ours, starts at once), or image (the image's own init, "
                    "for images that need their services).",
            .choices = "agent image"}),
    Option({.key = "incus.channel",
            .type = CSB_OPTION_CHOICE,
            .default_value = "auto",
            .help = "How the agent is reached: socket (a folder of this machine in the container), exec (a "
                    "websocket of the engine, for other machines), auto: socket where it can be.",
            .choices = "auto socket exec"}),
    Option({.key = "incus.timeout",
            .type = CSB_OPTION_SECONDS,
            .env = "INCUS_SANDBOX_TIMEOUT",
            .default_value = "900",
            .help = "A sandbox without work for this long is stopped, its files kept; seconds.",
            .min = 1,
            .max = 31536000}),
    Option({.key = "incus.memory",
            .type = CSB_OPTION_SIZE,
            .env = "INCUS_SANDBOX_MEMORY",
            .default_value = "512MiB",
            .help = "Memory of a sandbox, without swap; bytes. Of a virtual machine: its size."}),
    Option({.key = "incus.cpu",
            .type = CSB_OPTION_FLOAT,
            .env = "INCUS_SANDBOX_CPU",
            .default_value = "1",
            .help = "Processor time of a sandbox, in cores; a virtual machine gets whole ones.",
            .min = 0.01,
            .max = 4096}),
    Option({.key = "incus.disk",
            .type = CSB_OPTION_SIZE,
            .env = "INCUS_SANDBOX_DISK",
            .default_value = "unlimited",
            .help = "Bytes of a sandbox's workspace, and of what it may add to its root; an error where the "
                    "storage pool can't enforce it (dir can't; btrfs, zfs and lvm can)."}),
    Option({.key = "incus.pids",
            .type = CSB_OPTION_INT,
            .default_value = "256",
            .help = "Processes and threads of a container at once.",
            .min = 16,
            .max = 4000000}),
    Option({.key = "incus.network",
            .env = "INCUS_SANDBOX_NETWORK",
            .default_value = "none",
            .help =
                "none; bridge: a network of our own with an access list, out to public addresses only; or "
                "a network's name, which is joined as it is."}),
    Option({.key = "incus.blocked",
            .default_value = kDefaultBlocked,
            .help = "With network=bridge: address ranges that can't be reached, comma separated."}),
    Option(
        {.key = "incus.pool",
         .help = "The storage pool. Unset: the default profile's, else btrfs, zfs, lvm or ceph before dir."}),
    Option({.key = "incus.target",
            .help =
                "In a cluster: a member, or @group, that sandboxes are placed on. Unset: the least loaded."}),
    Option({.key = "incus.profiles",
            .help = "Profiles that every instance gets, separated by blanks; what they allow holds for user "
                    "code too."}),
    Option({.key = "incus.extra_config",
            .help = "Config keys that every instance gets, as key=value separated by semicolons."}),
    Option({.key = "incus.secureboot",
            .type = CSB_OPTION_BOOL,
            .default_value = "true",
            .help = "A virtual machine boots signed kernels only; many images need false."}),
    Option({.key = "incus.tmp",
            .type = CSB_OPTION_SIZE,
            .help =
                "Size of /tmp of a container; counts as memory; bytes. Unset: a quarter of the memory, at "
                "most 1 GiB."}),
    Option({.key = "incus.user",
            .default_value = "1000:1000",
            .help = "Uid and gid of user code in the sandbox, as UID:GID; neither may be 0."}),
    Option({.key = "incus.pool_size",
            .type = CSB_OPTION_INT,
            .default_value = "0",
            .help = "Instances that are kept ready for new users while the host runs.",
            .min = 0,
            .max = 1000}),
    Option({.key = "incus.installation",
            .help = "What hosts that serve the same users have in common: 8 to 32 of a-z and 0-9. Unset: one "
                    "of this machine's state folder."}),
    Option({.key = "incus.agent",
            .type = CSB_OPTION_PATH,
            .help = "Path of clara-sandbox-agent. Unset: beside the folder of the plugins."}),
};

Error Wrong(std::string message, std::string hint = "") {
  return {CSB_E_INVALID, std::move(message), std::move(hint), false};
}

bool ParseUser(const std::string& text, Options* out) {
  const char* end = text.data() + text.size();
  const auto uid = std::from_chars(text.data(), end, out->user);
  if (uid.ec != std::errc() || uid.ptr == end || *uid.ptr != ':') return false;
  const auto gid = std::from_chars(uid.ptr + 1, end, out->group);
  return gid.ec == std::errc() && gid.ptr == end && out->user != 0 && out->group != 0 &&
         out->user != UINT32_MAX && out->group != UINT32_MAX;
}

// A name of the engine: nothing that could stand for an option or a path.
bool IsName(std::string_view text) {
  if (text.empty() || text.size() > 63) return false;
  for (const char c : text)
    if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '.' &&
        c != '_' && c != '-')
      return false;
  return text.front() != '-' && text.front() != '.';
}

std::vector<std::string> Words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

// What hardens an instance, or tells whose it is, is ours to set.
bool IsOurs(const std::string& key) {
  return key.starts_with("user.clara-sandbox.") || key.starts_with("security.privileged") ||
         key.starts_with("security.nesting") || key.starts_with("security.idmap") ||
         key.starts_with("security.guestapi") || key.starts_with("security.syscalls") ||
         key.starts_with("volatile.") || key.starts_with("limits.") || key.starts_with("boot.") ||
         key == "raw.lxc" || key == "raw.idmap" || key == "raw.seccomp" || key == "raw.apparmor";
}

Result<Config> ParseExtra(const std::string& text) {
  Config out;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ';');) {
    item.erase(0, item.find_first_not_of(" \t"));
    if (item.empty()) continue;
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0)
      return Wrong("incus.extra_config: \"" + item + "\" is no key=value");
    const std::string key = item.substr(0, equals);
    if (IsOurs(key))
      return Wrong("incus.extra_config: " + key + " can't be set",
                   "it is part of what keeps a sandbox in, or has an option of its own");
    out[key] = item.substr(equals + 1);
  }
  return out;
}

}  // namespace

std::span<const csb_option> DeclaredOptions() { return kOptions; }

Result<Options> ReadOptions(const HostRef& host) {
  Options out;
  const std::string state = StateDir(host);
  out.state_dir = state + "/incus";
  out.runtime_dir = RuntimeDir(host, state) + "/incus";
  if (Status s = CheckAbsolute({&out.state_dir, &out.runtime_dir}); !s) return s.error();

  auto remote = FindRemote(host.Text("incus.remote", "local"), out.state_dir);
  if (!remote) return remote.error();
  out.remote = *std::move(remote);
  if (const std::string project = host.Text("incus.project"); !project.empty()) out.remote.project = project;
  if (out.remote.project.empty()) out.remote.project = "default";
  if (!IsName(out.remote.project))
    return Wrong("incus.project: \"" + out.remote.project + "\" is no project's name");

  // What is there of one server and project is nothing to another: a name in use here is free there.
  const std::string& where =
      out.remote.endpoint.unix_socket.empty() ? out.remote.endpoint.url : out.remote.endpoint.unix_socket;
  const std::string place = EngineName(where + " " + out.remote.project);
  out.runtime_dir += "/" + place.substr(place.size() - 8);

  out.image = host.Text("incus.image", "images:debian/12/cloud");
  if (out.image.empty()) return Wrong("incus.image: must not be empty");
  out.more_images = Words(host.Text("incus.images"));
  out.vm = host.Text("incus.type", "container") == "vm" || host.Text("sandbox.mode") == "incus-vm";
  out.boot = host.Text("incus.boot", "agent") == "image" ? Boot::kImage : Boot::kAgent;
  const std::string channel = host.Text("incus.channel", "auto");
  if (channel == "socket") out.channel = ChannelKind::kSocket;
  if (channel == "exec") out.channel = ChannelKind::kExec;
  if ((out.vm || out.boot == Boot::kImage) && channel == "socket")
    return Wrong("incus.channel: socket is for containers whose process 1 is the agent (incus.boot=agent)",
                 "unset incus.channel");
  out.limits.memory = static_cast<uint64_t>(host.Int("incus.memory", 512 << 20));
  out.limits.cpu = host.Number("incus.cpu", 1);
  out.limits.pids = static_cast<uint64_t>(host.Int("incus.pids", 256));
  out.limits.disk = static_cast<uint64_t>(host.Int("incus.disk", 0));
  out.limits.network = host.Text("incus.network", "none");
  if (!IsName(out.limits.network) || out.limits.network == "host")
    return Wrong("incus.network: \"" + out.limits.network + "\" is not offered",
                 "none, bridge, or the name of a network made with `incus network create`");
  out.idle_timeout = host.Number("incus.timeout", 900);
  out.python_options = PythonOptions(host);
  if (!ParseUser(host.Text("incus.user", "1000:1000"), &out))
    return Wrong("incus.user: UID:GID in numbers is expected, neither of them 0");
  out.pool = host.Text("incus.pool");
  if (!out.pool.empty() && !IsName(out.pool))
    return Wrong("incus.pool: \"" + out.pool + "\" is no storage pool's name");
  out.target = host.Text("incus.target");
  if (!out.target.empty() && !IsName(std::string_view(out.target).substr(out.target.front() == '@')))
    return Wrong("incus.target: \"" + out.target + "\" is neither a member's name nor @group");
  out.profiles = Words(host.Text("incus.profiles"));
  for (const std::string& profile : out.profiles)
    if (!IsName(profile)) return Wrong("incus.profiles: \"" + profile + "\" is no profile's name");
  auto extra = ParseExtra(host.Text("incus.extra_config"));
  if (!extra) return extra.error();
  out.extra = *std::move(extra);
  out.secureboot = host.Bool("incus.secureboot", true);
  out.tmp_bytes = static_cast<uint64_t>(host.Int("incus.tmp", 0));
  out.blocked_ranges = host.Text("incus.blocked", kDefaultBlocked);
  out.pool_size = host.Int("incus.pool_size", 0);
  out.max_instances = host.Int("sandbox.max_sandboxes", 10);
  out.agent = FindHelper(host, "incus.agent", "clara-sandbox-agent");
  out.installation = host.Text("incus.installation");
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (!out.installation.empty() && (out.installation.size() < 8 || out.installation.size() > 32 ||
                                    !std::all_of(out.installation.begin(), out.installation.end(), plain)))
    return Wrong("incus.installation: 8 to 32 of a-z and 0-9 are expected");
  return out;
}

}  // namespace csb::incus
