// SPDX-License-Identifier: Apache-2.0
#include "host/config/host_options.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "host/config/suggest.h"

namespace csb::host {
namespace {

constexpr uint32_t kSize = sizeof(csb_option);

constexpr csb_option kOptions[] = {
    {kSize, CSB_OPTION_STRING, "sandbox.mode", "SANDBOX_MODE", "auto",
     "Where new sandboxes go: auto (the first of sandbox.order that works) or the name of the one backend to "
     "use: "
     "docker, incus, incus-vm, remote, bubblewrap, or a plugin's.",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_STRING, "sandbox.order", nullptr, "docker incus bubblewrap",
     "Local backends in the order in which auto tries them; names that are not installed are passed over.",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_STRING, "sandbox.backends", nullptr, nullptr,
     "Backend plugins to enable, by name; unset: all that are found.", nullptr, 0, 0},
    {kSize, CSB_OPTION_STRING, "sandbox.frontends", nullptr, "http",
     "Frontend plugins that `serve` starts, by name.", nullptr, 0, 0},
    {kSize, CSB_OPTION_STRING, "sandbox.plugin_dirs", nullptr, nullptr,
     "Folders with plugins (*.so), separated by colons, instead of lib/clara-sandbox/plugins beside the "
     "binary's folder: name that one too to add to it.",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_PATH, "sandbox.data_dir", "SANDBOX_DATA_DIR", nullptr,
     "Folder for the workspaces of the local backends; unset: each backend's own place (bubblewrap: "
     "/data/sandboxes, or the user's XDG state folder where that is not writable).",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_PATH, "sandbox.state_dir", nullptr, nullptr,
     "Folder for the host's records of users; unset: /var/lib/clara-sandbox as root, else "
     "$XDG_STATE_HOME/clara-sandbox.",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_PATH, "sandbox.runtime_dir", nullptr, nullptr,
     "Folder for sockets; unset: /run/clara-sandbox as root, else $XDG_RUNTIME_DIR/clara-sandbox, else run "
     "in "
     "sandbox.state_dir.",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_INT, "sandbox.max_sandboxes", "SANDBOX_MAX_CONTAINERS", "10",
     "Most sandboxes live at once. No more are made; those that are found running are kept, and count.",
     nullptr, 1, 100000},
    {kSize, CSB_OPTION_SECONDS, "sandbox.default_execution_timeout", "SANDBOX_DEFAULT_EXECUTION_TIMEOUT",
     "30", "Seconds that Python code may run when the request says nothing.", nullptr, 0.001, 604800},
    {kSize, CSB_OPTION_SECONDS, "sandbox.max_execution_timeout", "SANDBOX_MAX_EXECUTION_TIMEOUT", "300",
     "Most seconds that a request may ask for; more is refused.", nullptr, 0.001, 604800},
    {kSize, CSB_OPTION_SECONDS, "sandbox.warm_python", nullptr, "300",
     "Seconds that a sandbox keeps a started Python after a run, which the next run is forked from; 0: each "
     "run starts its own.",
     nullptr, 0, 604800},
    {kSize, CSB_OPTION_STRING, "sandbox.preload", nullptr, nullptr,
     "Python modules that it has loaded then, such as numpy,pandas: importing them costs a run nothing.",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_SECONDS, "sandbox.create_timeout", "SANDBOX_CREATE_TIMEOUT", "60",
     "Seconds that making a sandbox may take; virtual machines boot in that time.", nullptr, 1, 3600},
    {kSize, CSB_OPTION_STRING, "sandbox.allow_unenforced", nullptr, nullptr,
     "Limits that may stay unenforced by a service that listens beyond loopback, by name: memory cpu pids "
     "disk "
     "network seccomp userns no_new_privs.",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_STRING, "sandbox.require", nullptr, nullptr,
     "What a backend must guarantee, on loopback too, or it is not used: names as for "
     "sandbox.allow_unenforced, network-none (no network at all), vm (virtual machines).",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_STRING, "sandbox.allow_backend_choice", nullptr, nullptr,
     "Backends that a create request may name for a new sandbox, or all; unset: the request that names one "
     "is refused.",
     nullptr, 0, 0},
    {kSize, CSB_OPTION_SECONDS, "sandbox.shutdown_grace", nullptr, "10",
     "Seconds that running requests get to end when the service is stopped.", nullptr, 0, 3600},
    {kSize, CSB_OPTION_CHOICE, "log.level", nullptr, "info",
     "Least level that is logged; `run` logs from warn on unless this is set.", "trace debug info warn error",
     0, 0},
    {kSize, CSB_OPTION_CHOICE, "log.format", nullptr, "text", "text, or json for one JSON object a line.",
     "text json", 0, 0},
    {kSize, CSB_OPTION_SECONDS, "mcp.yield_after", nullptr, "45",
     "Seconds after which a tool call over MCP answers with a handle while its run goes on in the "
     "background, "
     "below the 60 s that clients wait; 0: it waits for the end.",
     nullptr, 0, 300},
    {kSize, CSB_OPTION_STRING, "run.user", nullptr, nullptr,
     "User id whose sandbox `clara-sandbox run` uses; unset: the name of who calls it.", nullptr, 0, 0},
};

// The last two are no limits, and for sandbox.require only.
constexpr std::array kRequirements = {"memory",  "cpu",    "pids",         "disk",         "network",
                                      "seccomp", "userns", "no_new_privs", "network-none", "vm"};

std::string Variable(const Environ& environ, std::string_view name) {
  const auto it = environ.find(name);
  return it == environ.end() ? "" : it->second;
}

std::string InvokingUser() {
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr &&
      *found->pw_name != 0)
    return found->pw_name;
  return "uid-" + std::to_string(geteuid());
}

}  // namespace

std::span<const csb_option> HostOptions() { return kOptions; }

std::string BinaryFolder() {
  std::error_code error;
  const auto binary = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "" : binary.parent_path().string();
}

void FillDefaults(Config& config, const Environ& environ) {
  if (const std::string folder = BinaryFolder(); !folder.empty())
    config.Fill("sandbox.plugin_dirs",
                (std::filesystem::path(folder) / "../lib/clara-sandbox/plugins").lexically_normal().string(),
                "beside the binary");
  const bool root = geteuid() == 0;
  const auto absolute = [&](std::string_view name) {
    std::string folder = Variable(environ, name);  // the XDG specification: relative ones are to be ignored
    return folder.starts_with('/') ? folder : std::string();
  };
  if (root) {
    config.Fill("sandbox.state_dir", "/var/lib/clara-sandbox", "root's default");
    config.Fill("sandbox.runtime_dir", "/run/clara-sandbox", "root's default");
  } else {
    const std::string xdg = absolute("XDG_STATE_HOME");
    const std::string home = absolute("HOME");
    if (!xdg.empty())
      config.Fill("sandbox.state_dir", xdg + "/clara-sandbox", "XDG_STATE_HOME");
    else if (!home.empty())
      config.Fill("sandbox.state_dir", home + "/.local/state/clara-sandbox", "HOME");
    else
      config.Fill("sandbox.state_dir", "/tmp/clara-sandbox-" + std::to_string(geteuid()), "no HOME is set");
    const std::string runtime = absolute("XDG_RUNTIME_DIR");
    if (!runtime.empty()) config.Fill("sandbox.runtime_dir", runtime + "/clara-sandbox", "XDG_RUNTIME_DIR");
    config.Fill("sandbox.runtime_dir", config.Text("sandbox.state_dir") + "/run", "sandbox.state_dir");
  }
  config.Fill("run.user", InvokingUser(), "who calls");
}

Status CheckTogether(Config& config, const std::vector<std::string>& backends) {
  const auto bad = [&](std::string_view key, const std::string& why) {
    return Error{CSB_E_INVALID, config.Where(key) + ": " + std::string(key) + ": " + why, "", false};
  };
  const std::string mode = config.Text("sandbox.mode");
  std::vector<std::string> modes = {"auto", "docker", "incus", "incus-vm", "remote", "bubblewrap"};
  modes.insert(modes.end(), backends.begin(), backends.end());
  if (std::find(modes.begin(), modes.end(), mode) == modes.end()) {
    const std::string near = Nearest(mode, modes);
    return bad("sandbox.mode", Quoted(mode) + " is neither auto nor a backend" +
                                   (near.empty() ? std::string() : "; did you mean " + near + "?"));
  }
  for (const bool require : {false, true}) {
    const std::vector<std::string> known(kRequirements.begin(), kRequirements.end() - (require ? 0 : 2));
    const char* const key = require ? "sandbox.require" : "sandbox.allow_unenforced";
    for (const std::string& name : config.List(key))
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        const std::string near = Nearest(name, known);
        return bad(key, Quoted(name) + (require ? " is nothing to require" : " is not a limit") +
                            (near.empty() ? "" : "; did you mean " + near + "?"));
      }
  }
  std::vector<std::string> choices = backends;
  choices.insert(choices.end(), {"all", "docker", "incus", "incus-vm", "remote", "bubblewrap"});
  for (const std::string& name : config.List("sandbox.allow_backend_choice"))
    if (std::find(choices.begin(), choices.end(), name) == choices.end()) {
      const std::string near = Nearest(name, choices);
      return bad("sandbox.allow_backend_choice",
                 Quoted(name) + " is no backend" + (near.empty() ? "" : "; did you mean " + near + "?"));
    }
  const double most = config.Number("sandbox.max_execution_timeout").value_or(300);
  if (config.Number("sandbox.default_execution_timeout").value_or(30) > most) {
    if (config.IsSet("sandbox.default_execution_timeout"))
      return bad("sandbox.default_execution_timeout",
                 "is more than sandbox.max_execution_timeout, which is " + FormatNumber(most) + " s");
    config.Replace("sandbox.default_execution_timeout", FormatNumber(most), "sandbox.max_execution_timeout");
  }
  return {};
}

std::vector<std::string> PluginDirs(const Config& config) {
  std::vector<std::string> folders;
  std::string_view rest = config.Get("sandbox.plugin_dirs").value_or("");
  while (!rest.empty()) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    if (colon > 0) folders.emplace_back(rest.substr(0, colon));
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return folders;
}

}  // namespace csb::host
