// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/options.h"

#include <unistd.h>

#include "clara_sandbox/cpp/plugin.h"
#include "plugins/common/folders.h"
#include "plugins/common/python_options.h"
#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

constexpr char kDefaultUids[] = "1900000000:200000000";
// Metadata services, private and shared ranges, link-local, benchmarking, reserved.
constexpr char kDefaultBlocked[] =
    "10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.168.0.0/16,198.18.0.0/"
    "15,240.0.0.0/4,"
    "fc00::/7,fe80::/10,fec0::/10";

constexpr csb_option kOptions[] = {
    Option({.key = "bubblewrap.timeout",
            .type = CSB_OPTION_SECONDS,
            .env = "BUBBLEWRAP_SANDBOX_TIMEOUT",
            .default_value = "900",
            .help = "A sandbox without work for this long is stopped, its files kept; seconds.",
            .min = 1,
            .max = 31536000}),
    Option({.key = "bubblewrap.memory",
            .type = CSB_OPTION_SIZE,
            .env = "BUBBLEWRAP_SANDBOX_MEMORY",
            .default_value = "512m",
            .help = "Memory of a sandbox, swap included, its temporary files too; bytes."}),
    Option({.key = "bubblewrap.cpu",
            .type = CSB_OPTION_FLOAT,
            .env = "BUBBLEWRAP_SANDBOX_CPU",
            .default_value = "1.0",
            .help = "Processor time of a sandbox, in cores.",
            .min = 0.01,
            .max = 4096}),
    Option({.key = "bubblewrap.disk",
            .type = CSB_OPTION_SIZE,
            .env = "BUBBLEWRAP_SANDBOX_DISK",
            .default_value = "1g",
            .help = "Size of a new workspace; bytes, or unlimited for a plain folder."}),
    Option(
        {.key = "bubblewrap.network",
         .type = CSB_OPTION_CHOICE,
         .env = "BUBBLEWRAP_SANDBOX_NETWORK",
         .default_value = "none",
         .help =
             "none; pasta: out to public addresses only; host: the host's network whole, loopback included.",
         .choices = "none pasta host"}),
    Option({.key = "bubblewrap.pids",
            .type = CSB_OPTION_INT,
            .default_value = "256",
            .help = "Processes and threads of a sandbox's code at once.",
            .min = 8,
            .max = 4000000}),
    Option({.key = "bubblewrap.tmp",
            .type = CSB_OPTION_SIZE,
            .help = "Size of /tmp, half of it for /dev/shm; both count as memory; bytes. Unset: half of the "
                    "memory."}),
    Option({.key = "bubblewrap.python",
            .type = CSB_OPTION_PATH,
            .default_value = "/usr/bin/python3",
            .help = "The interpreter of execute and pip, a path below /usr."}),
    Option({.key = "bubblewrap.bwrap",
            .type = CSB_OPTION_PATH,
            .help = "Path of bwrap. Unset: looked for in /usr/bin, /usr/local/bin, /bin."}),
    Option({.key = "bubblewrap.pasta",
            .type = CSB_OPTION_PATH,
            .help = "Path of pasta (package passt). Unset: looked for in /usr/bin, /usr/local/bin, /bin."}),
    Option({.key = "bubblewrap.agent",
            .type = CSB_OPTION_PATH,
            .help = "Path of clara-sandbox-agent. Unset: beside the folder of the plugins."}),
    Option({.key = "bubblewrap.launcher",
            .type = CSB_OPTION_PATH,
            .help = "Path of clara-sandbox-launch. Unset: beside the folder of the plugins."}),
    Option({.key = "bubblewrap.uids",
            .type = CSB_OPTION_STRING,
            .default_value = kDefaultUids,
            .help =
                "Host uids of sandboxes as FIRST:COUNT, two for each user, used by nobody else; root only."}),
    Option({.key = "bubblewrap.blocked",
            .type = CSB_OPTION_STRING,
            .default_value = kDefaultBlocked,
            .help = "With network=pasta: address ranges that can't be reached, comma separated."}),
};

std::string FindProgram(const HostRef& host, const char* key, const char* name) {
  if (const auto set = host.Config(key); set && !set->empty()) return std::string(*set);
  for (const char* folder : {"/usr/bin/", "/usr/local/bin/", "/bin/"})
    if (access((folder + std::string(name)).c_str(), X_OK) == 0) return folder + std::string(name);
  return std::string("/usr/bin/") + name;
}

Status FindUids(const HostRef& host, Options* out) {
  if (geteuid() != 0) {
    out->one_uid_reason = "the host does not run as root";
    return {};
  }
  auto range = UidRange::Parse(host.Text("bubblewrap.uids", kDefaultUids));
  if (!range) return range.error();
  const auto map = ReadSmallFile("/proc/self/uid_map");
  if (map && range->MappedBy(*map)) {
    out->uids = *range;
    return {};
  }
  // A root that has only some uids (a container with a user namespace): what it has of the usual 65536.
  const UidRange small{20'000, 40'000};
  if (map && host.Text("bubblewrap.uids", kDefaultUids) == kDefaultUids && small.MappedBy(*map)) {
    out->uids = small;
    return {};
  }
  return Error{CSB_E_INVALID, "bubblewrap.uids: this system does not have these uids (/proc/self/uid_map)",
               "set bubblewrap.uids to a range that is mapped here", false};
}

}  // namespace

std::span<const csb_option> DeclaredOptions() { return kOptions; }

Result<Options> ReadOptions(const HostRef& host) {
  Options out;
  out.limits.memory = static_cast<uint64_t>(host.Int("bubblewrap.memory", 512 << 20));
  out.limits.cpu = host.Number("bubblewrap.cpu", 1.0);
  out.limits.pids = static_cast<uint64_t>(host.Int("bubblewrap.pids", 256));
  out.limits.disk = static_cast<uint64_t>(host.Int("bubblewrap.disk", 1 << 30));
  auto network = ParseNetwork(host.Text("bubblewrap.network", "none"));
  if (!network) return Error{CSB_E_INVALID, "bubblewrap." + network.error().message, "", false};
  out.limits.network = *network;
  out.idle_timeout = host.Number("bubblewrap.timeout", 900);
  out.python_options = PythonOptions(host);
  out.tmp_bytes = static_cast<uint64_t>(host.Int("bubblewrap.tmp", 0));
  out.bwrap = FindProgram(host, "bubblewrap.bwrap", "bwrap");
  out.pasta = FindProgram(host, "bubblewrap.pasta", "pasta");
  out.python = host.Text("bubblewrap.python", "/usr/bin/python3");
  out.agent = FindHelper(host, "bubblewrap.agent", "clara-sandbox-agent");
  out.launcher = FindHelper(host, "bubblewrap.launcher", "clara-sandbox-launch");
  out.state_dir = StateDir(host);
  out.data_dir = DataDir(host, out.state_dir);
  out.runtime_dir = RuntimeDir(host, out.state_dir);
  out.state_dir += "/bubblewrap";
  out.blocked_ranges = host.Text("bubblewrap.blocked", kDefaultBlocked);
  if (Status s = FindUids(host, &out); !s) return s.error();
  if (Status s = CheckAbsolute({&out.data_dir, &out.state_dir, &out.runtime_dir}); !s) return s.error();
  return out;
}

}  // namespace csb::bwrap
