// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/options.h"

#include <charconv>
#include <cstdlib>
#include <sstream>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/plugin.h"
#include "plugins/common/folders.h"
#include "plugins/common/python_options.h"
#include "plugins/common/small_file.h"
#include "plugins/docker/endpoint.h"

namespace csb::docker {
namespace {

// Metadata services, private and shared ranges, link-local, benchmarking, reserved.
constexpr char kDefaultBlocked[] =
    "10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.168.0.0/16,198.18.0.0/"
    "15,240.0.0.0/4,"
    "fc00::/7,fe80::/10,fec0::/10";

constexpr csb_option kOptions[] = {
    Option({.key = "docker.host",
            .env = "DOCKER_HOST",
            .default_value = "unix:///var/run/docker.sock",
            .help =
                "The engine: unix:///path or tcp://host:port; Podman's Docker-compatible socket works too."}),
    Option({.key = "docker.tls_verify",
            .type = CSB_OPTION_BOOL,
            .env = "DOCKER_TLS_VERIFY",
            .default_value = "false",
            .help = "TLS with certificates of docker.cert_path, for a tcp:// engine."}),
    Option({.key = "docker.cert_path",
            .type = CSB_OPTION_PATH,
            .env = "DOCKER_CERT_PATH",
            .help = "Folder with ca.pem, cert.pem and key.pem. Unset: ~/.docker."}),
    Option({.key = "docker.channel",
            .type = CSB_OPTION_CHOICE,
            .default_value = "auto",
            .help =
                "How the agent is reached: socket (a folder of this machine in the container), exec (a "
                "stream of the engine, for remote ones), auto: socket where the engine sees this machine's "
                "folders.",
            .choices = "auto socket exec"}),
    Option({.key = "docker.image",
            .env = "DOCKER_SANDBOX_IMAGE SANDBOX_DOCKER_IMAGE",
            .default_value = "python:3.12-slim",
            .help = "The image of sandboxes."}),
    Option({.key = "docker.images",
            .help =
                "Other images that a create may ask for, separated by blanks; * for any that the engine has. "
                "Whoever may create a sandbox can read all that is in them."}),
    Option({.key = "docker.pull",
            .type = CSB_OPTION_CHOICE,
            .default_value = "missing",
            .help = "missing: an image that the engine does not have is pulled from its registry; never.",
            .choices = "missing never"}),
    Option({.key = "docker.timeout",
            .type = CSB_OPTION_SECONDS,
            .env = "DOCKER_SANDBOX_TIMEOUT SANDBOX_DOCKER_TIMEOUT",
            .default_value = "900",
            .help = "A sandbox without work for this long is stopped, its files kept; seconds.",
            .min = 1,
            .max = 31536000}),
    Option({.key = "docker.memory",
            .type = CSB_OPTION_SIZE,
            .env = "DOCKER_SANDBOX_MEMORY SANDBOX_DOCKER_MEMORY",
            .default_value = "512m",
            .help = "Memory of a sandbox, swap included; bytes."}),
    Option({.key = "docker.cpu",
            .type = CSB_OPTION_FLOAT,
            .env = "DOCKER_SANDBOX_CPU SANDBOX_DOCKER_CPU",
            .default_value = "1.0",
            .help = "Processor time of a sandbox, in cores.",
            .min = 0.01,
            .max = 4096}),
    Option({.key = "docker.disk",
            .type = CSB_OPTION_SIZE,
            .env = "DOCKER_SANDBOX_DISK",
            .default_value = "unlimited",
            .help =
                "Bytes of a sandbox's workspace, and of its own layer; an error where the engine's storage "
                "can't enforce it (xfs with project quotas can)."}),
    Option({.key = "docker.pids",
            .type = CSB_OPTION_INT,
            .default_value = "256",
            .help = "Processes and threads of a sandbox at once.",
            .min = 16,
            .max = 4000000}),
    Option(
        {.key = "docker.network",
         .env = "DOCKER_SANDBOX_NETWORK",
         .default_value = "none",
         .help =
             "none; bridge: a network of our own, out to public addresses only; or a network's name, which "
             "is joined as it is."}),
    Option({.key = "docker.blocked",
            .default_value = kDefaultBlocked,
            .help = "With network=bridge: address ranges that can't be reached, comma separated."}),
    Option(
        {.key = "docker.runtime",
         .help = "The engine's OCI runtime: runc, crun, runsc (gVisor), kata. Unset: the engine's default."}),
    Option({.key = "docker.seccomp",
            .default_value = "strict",
            .help = "System calls: strict (our allowlist), docker (the engine's default), or the path of a "
                    "profile in the engine's form."}),
    Option({.key = "docker.read_only",
            .type = CSB_OPTION_BOOL,
            .default_value = "false",
            .help = "The container's root can't be written; /var/tmp is in memory then, as /tmp always is."}),
    Option({.key = "docker.tmp",
            .type = CSB_OPTION_SIZE,
            .help = "Size of /tmp, and of /var/tmp with docker.read_only; counts as memory; bytes. Unset: a "
                    "quarter of the memory, at most 1 GiB."}),
    Option({.key = "docker.user",
            .default_value = "1000:1000",
            .help = "Uid and gid of user code in the container, as UID:GID; neither may be 0."}),
    Option({.key = "docker.pool_size",
            .type = CSB_OPTION_INT,
            .default_value = "0",
            .help = "Containers that are kept ready for new users while the host runs.",
            .min = 0,
            .max = 1000}),
    Option({.key = "docker.agent",
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
bool IsName(const std::string& text) {
  if (text.empty() || text.size() > 128) return false;
  for (const char c : text)
    if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '.' &&
        c != '_' && c != '-')
      return false;
  return text.front() != '-' && text.front() != '.';
}

Result<std::string> ReadSeccomp(const std::string& value) {
  if (value == "strict") return std::string();
  if (value == "docker") return value;
  if (value.empty() || value.front() != '/')
    return Wrong("docker.seccomp: \"" + value + "\" is none of: strict, docker, an absolute path",
                 "sandboxes without a filter are not offered");
  auto text = ReadSmallFile(value);
  if (!text) return Wrong("docker.seccomp: " + text.error().message);
  auto profile = json::ParseObject(*text);
  if (!profile || json::Find(*profile, "defaultAction") == nullptr)
    return Wrong("docker.seccomp: " + value + " is no profile (JSON with a defaultAction)",
                 "https://docs.docker.com/engine/security/seccomp/ describes the form");
  return text;
}

}  // namespace

std::span<const csb_option> DeclaredOptions() { return kOptions; }

Result<Options> ReadOptions(const HostRef& host) {
  Options out;
  out.host = host.Text("docker.host", "unix:///var/run/docker.sock");
  std::string certificates = host.Text("docker.cert_path");
  if (certificates.empty())
    if (const char* home = getenv("HOME")) certificates = std::string(home) + "/.docker";
  auto endpoint = ParseEndpoint(out.host, host.Bool("docker.tls_verify", false), certificates);
  if (!endpoint) return endpoint.error();
  out.endpoint = *std::move(endpoint);
  const std::string channel = host.Text("docker.channel", "auto");
  if (channel == "socket") out.channel = ChannelKind::kSocket;
  if (channel == "exec") out.channel = ChannelKind::kExec;

  out.image = host.Text("docker.image", "python:3.12-slim");
  if (out.image.empty()) return Wrong("docker.image: must not be empty");
  std::istringstream images(host.Text("docker.images"));
  for (std::string image; images >> image;) out.more_images.push_back(image);
  out.pull = host.Text("docker.pull", "missing") == "missing";
  out.limits.memory = static_cast<uint64_t>(host.Int("docker.memory", 512 << 20));
  out.limits.cpu = host.Number("docker.cpu", 1.0);
  out.limits.pids = static_cast<uint64_t>(host.Int("docker.pids", 256));
  out.limits.disk = static_cast<uint64_t>(host.Int("docker.disk", 0));
  out.limits.network = host.Text("docker.network", "none");
  if (!IsName(out.limits.network) || out.limits.network == "host" || out.limits.network == "default")
    return Wrong("docker.network: \"" + out.limits.network + "\" is not offered",
                 "none, bridge, or the name of a network made with `docker network create`");
  out.idle_timeout = host.Number("docker.timeout", 900);
  out.python_options = PythonOptions(host);
  if (!ParseUser(host.Text("docker.user", "1000:1000"), &out))
    return Wrong("docker.user: UID:GID in numbers is expected, neither of them 0");
  out.runtime = host.Text("docker.runtime");
  auto seccomp = ReadSeccomp(host.Text("docker.seccomp", "strict"));
  if (!seccomp) return seccomp.error();
  out.seccomp = *std::move(seccomp);
  out.read_only = host.Bool("docker.read_only", false);
  out.tmp_bytes = static_cast<uint64_t>(host.Int("docker.tmp", 0));
  out.blocked_ranges = host.Text("docker.blocked", kDefaultBlocked);
  out.pool_size = host.Int("docker.pool_size", 0);
  out.max_containers = host.Int("sandbox.max_sandboxes", 10);
  out.agent = FindHelper(host, "docker.agent", "clara-sandbox-agent");

  const std::string state = StateDir(host);
  out.state_dir = state + "/docker";
  out.runtime_dir = RuntimeDir(host, state) + "/docker";
  if (Status s = CheckAbsolute({&out.state_dir, &out.runtime_dir}); !s) return s.error();
  if (const auto set = host.Config("sandbox.data_dir"); set && !set->empty()) {
    out.data_dir = std::string(*set) + "/docker";
    if (Status s = CheckAbsolute({&out.data_dir}); !s) return s.error();
    if (out.limits.disk > 0)
      return Wrong("docker.disk: a workspace in a folder (sandbox.data_dir) can't be limited",
                   "unset docker.disk (DOCKER_SANDBOX_DISK), or sandbox.data_dir to use volumes");
  }
  return out;
}

}  // namespace csb::docker
