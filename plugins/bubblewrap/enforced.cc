// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/enforced.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <sstream>

#include "plugins/common/small_file.h"

namespace csb::bwrap {
namespace {

std::string Link(const std::string& path) {
  char target[128];
  const ssize_t n = readlink(path.c_str(), target, sizeof target);
  return n < 0 ? std::string() : std::string(target, static_cast<size_t>(n));
}

// Of /proc/PID/limits: the hard limit of a row, nullopt when unlimited.
std::optional<uint64_t> HardLimit(const std::string& limits, const std::string& row) {
  std::istringstream lines(limits);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, row.size(), row) != 0) continue;
    std::istringstream words(line.substr(row.size()));
    std::string soft, hard;
    words >> soft >> hard;
    return ParseCount(hard);
  }
  return std::nullopt;
}

Enforcement Memory(const LiveRecord& live, const Cgroup::Reading& group, const std::string& limits,
                   const std::string& missing) {
  if (group.memory_limit) {
    std::string by = "cgroup v" + std::to_string(live.cgroup.memory_version()) + " memory";
    if (!group.swap_excluded) by += " (swap not counted)";
    return {true, FormatSize(*group.memory_limit), by};
  }
  if (const auto space = HardLimit(limits, "Max data size"))
    return {false, FormatSize(*space), missing + kDataLimit};
  return {false, "unlimited", live.limits.memory == 0 ? "no limit is configured" : missing,
          live.limits.memory > 0};
}

Enforcement Cpu(const LiveRecord& live, const Cgroup::Reading& group, const std::string& missing) {
  if (group.cpu_limit)
    return {true, FormatCores(*group.cpu_limit),
            "cgroup v" + std::to_string(live.cgroup.cpu_version()) + " cpu"};
  return {false, "unlimited", live.limits.cpu <= 0 ? "no limit is configured" : missing, live.limits.cpu > 0};
}

Enforcement Pids(const LiveRecord& live, const Cgroup::Reading& group, const std::string& limits,
                 const std::string& missing) {
  const auto processes = HardLimit(limits, "Max processes");
  if (group.pids_limit) {
    const std::string by = "cgroup v" + std::to_string(live.cgroup.pids_version()) + " pids";
    if (processes && *processes <= *group.pids_limit)
      return {true, std::to_string(*processes), by + ", RLIMIT_NPROC"};
    return {true, std::to_string(*group.pids_limit), by};
  }
  if (processes && live.limits.pids > 0 && *processes <= live.limits.pids)
    return {true, std::to_string(*processes), kProcessLimit[live.uids.user != 0 ? 0 : 1]};
  return {false, "unlimited", live.limits.pids == 0 ? "no limit is configured" : missing,
          live.limits.pids > 0};
}

Enforcement Disk(const LiveRecord& live, const std::string& proc, const std::string& limits) {
  struct statvfs workspace {
  }, root{};
  const bool readable = statvfs((proc + "/root/workspace").c_str(), &workspace) == 0 &&
                        statvfs((proc + "/root").c_str(), &root) == 0;
  if (live.image > 0 && readable && workspace.f_fsid != root.f_fsid) {
    const uint64_t bytes = uint64_t{workspace.f_blocks} * workspace.f_frsize;
    if (bytes <= live.image)
      return {true, FormatSize(live.image), "ext4 image of this size, inodes bounded too"};
  }
  if (const auto size = HardLimit(limits, "Max file size"))
    return {false, FormatSize(*size),
            "each file alone is bounded (RLIMIT_FSIZE); images need root and loop devices"};
  return {false, "unlimited",
          live.limits.disk == 0 ? "no limit is configured" : "the workspace is a plain folder",
          live.limits.disk > 0};
}

Enforcement NetworkOf(const std::string& proc, const Limits& limits) {
  const std::string inside = Link(proc + "/ns/net"), outside = Link("/proc/self/ns/net");
  if (inside.empty()) return {false, "unknown", "the namespace can't be read"};
  if (inside == outside) return {false, "host", "the host's network is shared, as configured"};
  const auto devices = ReadSmallFile(proc + "/net/dev");
  int others = 0;
  std::istringstream lines(devices ? *devices : "");
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && line.find("lo:") == std::string::npos) ++others;
  }
  if (others == 0) return {true, "none", "network namespace with a loopback only"};
  return {true, std::string(NameOf(limits.network)),
          "network namespace; pasta, private ranges unreachable by routes the sandbox can't change"};
}

Enforcement Userns(const LiveRecord& live, const std::string& proc) {
  const std::string inside = Link(proc + "/ns/user"), outside = Link("/proc/self/ns/user");
  if (inside.empty() || inside == outside) return {false, "host", "no user namespace of its own"};
  const auto map = ReadSmallFile(proc + "/uid_map");
  std::string value;
  for (const char c : map ? *map : std::string()) {
    if (c == ' ' && (value.empty() || value.back() == ' ' || value.back() == ',')) continue;
    if (c == '\n') {
      if (!value.empty()) value += ",";
    } else {
      value += c;
    }
  }
  while (!value.empty() && value.back() == ',') value.pop_back();
  if (live.uids.user != 0) return {true, value, "user namespace; agent and code have host uids of their own"};
  return {true, value, "user namespace; agent and code share one uid (the host is not root)"};
}

}  // namespace

Enforced ReadEnforced(const LiveRecord& live, const std::string& cgroup_missing) {
  const std::string proc = "/proc/" + std::to_string(live.init.pid);
  const Cgroup::Reading group = live.cgroup.Read();
  const auto limits_text = ReadSmallFile(proc + "/limits");
  const std::string limits = limits_text ? *limits_text : "";
  const auto status_text = ReadSmallFile(proc + "/status");
  const std::string status = status_text ? *status_text : "";
  const std::string missing = cgroup_missing.empty() ? "no control group" : cgroup_missing;

  Enforced out;
  out["memory"] = Memory(live, group, limits, missing);
  out["cpu"] = Cpu(live, group, missing);
  out["pids"] = Pids(live, group, limits, missing);
  out["disk"] = Disk(live, proc, limits);
  out["network"] = NetworkOf(proc, live.limits);
  const bool filter = StatusField(status, "Seccomp") == "2";
  out["seccomp"] = {filter, filter ? "filter" : "off", filter ? "seccomp allowlist" : "no filter is active"};
  out["userns"] = Userns(live, proc);
  const bool no_new = StatusField(status, "NoNewPrivs") == "1";
  out["no_new_privs"] = {no_new, no_new ? "1" : "0", "prctl(PR_SET_NO_NEW_PRIVS)"};
  return out;
}

}  // namespace csb::bwrap
