// SPDX-License-Identifier: Apache-2.0
//
// Sources: namespaces(7), user_namespaces(7), cgroups(7); Ubuntu 24.04 release notes, "Unprivileged user
// namespace restrictions"; bubblewrap's release notes for the versions of its options.
#include "host/commands/machine.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "host/config/value.h"
#include "host/log/logger.h"

namespace csb::host {
namespace {

using Level = Finding::Level;

Finding Ok(std::string name, std::string text) { return {Level::kOk, std::move(name), std::move(text), ""}; }

// The first line of a file of the kernel's; nothing if there is no such file.
std::optional<std::string> ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!file || !std::getline(file, line)) return std::nullopt;
  return line;
}

std::vector<std::string> ReadLines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

uid_t Uid(const Machine& machine) { return machine.uid == static_cast<uid_t>(-1) ? geteuid() : machine.uid; }

struct Ran {
  int exit_code;
  std::string output;  // stdout's first line
};

// A fixed command of ours, never words of a user.
Ran RunFixed(const char* command) {
  FILE* pipe = popen(command, "re");
  if (pipe == nullptr) return {-1, std::strerror(errno)};
  std::array<char, 256> buffer{};
  std::string output;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) output += buffer.data();
  const int status = pclose(pipe);
  return {status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          OneLine(output.substr(0, output.find('\n')))};
}

Finding CheckV1(const Machine& machine, const std::vector<std::string>& mounts) {
  std::string missing;
  std::string closed;
  for (const char* controller : {"memory", "cpu", "pids"}) {
    std::string at;
    for (const std::string& line : mounts) {
      std::istringstream words(line);
      std::string device, folder, type, flags;
      words >> device >> folder >> type >> flags;
      if (type == "cgroup" &&
          ("," + flags + ",").find("," + std::string(controller) + ",") != std::string::npos)
        at = machine.root + folder;
    }
    if (at.empty())
      missing += std::string(missing.empty() ? "" : ", ") + controller;
    else if (access(at.c_str(), W_OK) != 0)
      closed += std::string(closed.empty() ? "" : ", ") + controller;
  }
  if (!missing.empty())
    return {Level::kWarn, "cgroups", "version 1, without " + missing,
            "Limits of these are only bounded by rlimits. Boot with cgroup_enable=memory, or use cgroup "
            "version 2."};
  if (!closed.empty())
    return {
        Level::kWarn, "cgroups", "version 1, but " + closed + " may not be written by this user",
        "Limits of these are only bounded by rlimits. Run as root, or use cgroup version 2 with delegation."};
  return Ok("cgroups", "version 1: memory, cpu and pids can be limited");
}

Finding CheckV2(const Machine& machine, const std::string& mount) {
  // "0::/user.slice/…" is where this process is.
  std::string own = mount;
  for (const std::string& line : ReadLines(machine.root + "/proc/self/cgroup"))
    if (line.starts_with("0::")) own = mount + line.substr(3);
  const std::string controllers = ReadLine(own + "/cgroup.controllers").value_or("");
  std::string missing;
  for (const std::string name : {"memory", "cpu", "pids"})
    if ((" " + controllers + " ").find(" " + name + " ") == std::string::npos)
      missing += (missing.empty() ? "" : ", ") + name;
  const char* hint =
      "Limits are only bounded by rlimits. Start it as a systemd service with Delegate=yes, or with: "
      "systemd-run --user "
      "--scope -p Delegate=yes clara-sandbox …";
  if (!missing.empty())
    return {Level::kWarn, "cgroups", "version 2, without " + missing + " in " + own, hint};
  if (access(own.c_str(), W_OK) != 0)
    return {Level::kWarn, "cgroups", "version 2, but this user may not make groups in " + own, hint};
  return Ok("cgroups", "version 2: memory, cpu and pids can be limited");
}

}  // namespace

Findings CheckKernel(const Machine& machine) {
  Findings findings;
  utsname name{};
  uname(&name);
  std::string missing;
  for (const char* space : {"user", "pid", "mnt", "ipc", "uts", "cgroup", "net"})
    if (access((machine.root + "/proc/self/ns/" + space).c_str(), F_OK) != 0)
      missing += std::string(missing.empty() ? "" : ", ") + space;
  if (missing.empty())
    findings.push_back(Ok("kernel", std::string("Linux ") + name.release + ", all namespaces"));
  else
    findings.push_back({Level::kFail, "kernel",
                        std::string("Linux ") + name.release + ", without namespaces: " + missing,
                        "Use a kernel that is built with them; every distribution's is."});
  const auto actions = ReadLine(machine.root + "/proc/sys/kernel/seccomp/actions_avail");
  if (actions && actions->find("errno") != std::string::npos)
    findings.push_back(Ok("seccomp", "filters are available"));
  else
    findings.push_back({Level::kFail, "seccomp", "the kernel has no seccomp filters",
                        "Use a kernel that is built with CONFIG_SECCOMP_FILTER."});
  return findings;
}

Findings CheckUserNamespaces(const Machine& machine) {
  const std::string sys = machine.root + "/proc/sys/";
  const bool root = Uid(machine) == 0;
  if (ReadLine(sys + "user/max_user_namespaces") == "0")
    return {{Level::kFail, "user namespaces", "forbidden: user.max_user_namespaces is 0",
             "sudo sysctl -w user.max_user_namespaces=15000"}};
  if (!root && ReadLine(sys + "kernel/unprivileged_userns_clone") == "0")
    return {{Level::kFail, "user namespaces", "forbidden to users: kernel.unprivileged_userns_clone is 0",
             "sudo sysctl -w kernel.unprivileged_userns_clone=1, or run as root"}};
  if (!root && ReadLine(sys + "kernel/apparmor_restrict_unprivileged_userns") == "1") {
    const bool profile = access((machine.root + "/etc/apparmor.d/bwrap").c_str(), F_OK) == 0 ||
                         access((machine.root + "/etc/apparmor.d/bwrap-userns-restrict").c_str(), F_OK) == 0;
    if (profile)
      return {Ok("user namespaces",
                 "restricted by AppArmor, which has a profile for bwrap (if it fails: "
                 "sudo systemctl reload apparmor)")};
    return {{Level::kFail, "user namespaces",
             "AppArmor restricts them (Ubuntu 24.04 does), and bwrap has no profile",
             "script/run installs one. By hand: write to /etc/apparmor.d/bwrap\n"
             "  abi <abi/4.0>,\n"
             "  include <tunables/global>\n"
             "  profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }\n"
             "then: sudo apparmor_parser -r /etc/apparmor.d/bwrap"}};
  }
  return {Ok("user namespaces", root ? "available, running as root" : "available to this user")};
}

Findings CheckCgroups(const Machine& machine) {
  const std::vector<std::string> mounts = ReadLines(machine.root + "/proc/self/mounts");
  std::string v2;
  bool v1 = false;
  for (const std::string& line : mounts) {
    std::istringstream words(line);
    std::string device, folder, type, flags;
    words >> device >> folder >> type >> flags;
    if (type == "cgroup2" && v2.empty()) v2 = machine.root + folder;
    if (type == "cgroup" && ("," + flags + ",").find(",memory,") != std::string::npos) v1 = true;
  }
  if (v1) return {CheckV1(machine, mounts)};
  if (!v2.empty()) return {CheckV2(machine, v2)};
  return {{Level::kWarn, "cgroups", "none are mounted",
           "Limits are only bounded by rlimits. Mount cgroup version 2."}};
}

Findings CheckOpenFiles() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_max == RLIM_INFINITY || files.rlim_max >= 4096)
    return {Ok("open files", files.rlim_max == RLIM_INFINITY ? "no limit" : std::to_string(files.rlim_max))};
  return {{Level::kWarn, "open files", "at most " + std::to_string(files.rlim_max),
           "Each live sandbox takes about six; raise the hard limit (ulimit -Hn, LimitNOFILE=)."}};
}

Findings CheckBubblewrap() {
  const Ran ran = RunFixed("bwrap --version 2>/dev/null");
  if (ran.exit_code != 0)
    return {{Level::kWarn, "bwrap", "not found in PATH",
             "sudo apt install bubblewrap (the bubblewrap backend needs it)"}};
  int major = 0;
  int minor = 0;
  if (std::sscanf(ran.output.c_str(), "bubblewrap %d.%d", &major, &minor) == 2 && major == 0 && minor < 8)
    return {{Level::kWarn, "bwrap", ran.output + " is older than 0.8, which brought --disable-userns",
             "Install bubblewrap 0.8 or later."}};
  return {Ok("bwrap", ran.output)};
}

Findings CheckPython() {
  Findings findings;
  const Ran python = RunFixed("/usr/bin/python3 -I --version 2>&1");
  if (python.exit_code != 0)
    return {{Level::kWarn, "python3", "/usr/bin/python3 does not run",
             "sudo apt install python3 (sandboxes of the bubblewrap backend use the host's)"}};
  findings.push_back(Ok("python3", python.output));
  const Ran pip = RunFixed("/usr/bin/python3 -I -c 'import pip; print(pip.__version__)' 2>/dev/null");
  if (pip.exit_code == 0)
    findings.push_back(Ok("pip", pip.output));
  else
    findings.push_back({Level::kWarn, "pip", "/usr/bin/python3 has no pip", "sudo apt install python3-pip"});
  return findings;
}

Finding CheckFolder(const std::string& name, const std::string& path) {
  std::filesystem::path at(path);
  std::error_code error;
  while (!std::filesystem::exists(at, error) && at.has_relative_path()) at = at.parent_path();
  const bool there = at == path;
  if (!std::filesystem::is_directory(at, error))
    return {Level::kFail, name, at.string() + " is not a folder",
            "Move it away, or configure another folder."};
  if (access(at.c_str(), W_OK | X_OK) != 0)
    return {
        Level::kFail, name,
        path + (there ? " may not be written" : " cannot be made: " + at.string() + " may not be written"),
        there ? "chown it to the user that runs the host, or configure another folder."
              : "sudo install -d -o $USER " + path + ", or configure another folder."};
  struct statvfs space {};
  if (statvfs(at.c_str(), &space) == 0) {
    const uint64_t available = static_cast<uint64_t>(space.f_bavail) * space.f_frsize;
    if (available < (uint64_t{64} << 20))
      return {Level::kWarn, name, path + ": only " + FormatSize(available) + " left", "Free some space."};
  }
  return Ok(name, path + (there ? "" : " (made when needed)"));
}

}  // namespace csb::host
