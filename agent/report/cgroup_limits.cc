// SPDX-License-Identifier: Apache-2.0
#include "agent/report/cgroup_limits.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "agent/base/proc_file.h"

namespace csb::agent {
namespace {

// Version 1 says "unlimited" by the largest number of pages that the kernel counts to.
constexpr uint64_t kUnlimited = uint64_t{1} << 62;

std::optional<uint64_t> Number(std::string_view text) {
  text = Trimmed(text);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Nothing for "max", -1 and version 1's huge number.
std::optional<uint64_t> Bound(std::string_view text) {
  const auto value = Number(text);
  return value && *value < kUnlimited ? value : std::nullopt;
}

template <typename T>
void Tighten(std::optional<T>& bound, std::optional<T> other) {
  if (other && (!bound || *other < *bound)) bound = other;
}

// The path of this process's group in /proc/self/cgroup, whose lines are NUMBER:CONTROLLER,…:PATH. Version 2
// has no controllers there.
std::string GroupPath(std::string_view table, std::string_view controller) {
  while (!table.empty()) {
    const std::string_view line = table.substr(0, table.find('\n'));
    table.remove_prefix(std::min(table.size(), line.size() + 1));
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string names = "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    if (names == ",," ? controller.empty()
                      : names.find("," + std::string(controller) + ",") != std::string::npos)
      return std::string(line.substr(second + 1));
  }
  return "/";
}

// The group of this process and those above it. In a container either the namespace hides the path, or the
// path is the host's and does not exist below what is mounted, which then is the group itself.
std::vector<std::string> Groups(const std::string& base, std::string path) {
  std::vector<std::string> groups;
  // A group outside the namespace's root: what is mounted is nearer than anything this could name.
  if (path.find("/..") != std::string::npos) path.clear();
  for (;;) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    groups.push_back(base + path + "/");
    if (path.empty()) return groups;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

void ReadVersion2(const std::vector<std::string>& groups, CgroupLimits& limits) {
  for (const auto& group : groups) {
    if (const auto text = ReadSmallFile(group + "memory.max")) {
      limits.memory_by = "cgroup v2 memory";
      const auto memory = Bound(*text);
      Tighten(limits.memory, memory);
      const auto swap = Bound(ReadSmallFile(group + "memory.swap.max").value_or(""));
      if (memory && swap) Tighten(limits.memory_swap, std::optional<uint64_t>(*memory + *swap));
    }
    if (const auto text = ReadSmallFile(group + "cpu.max")) {
      limits.cpu_by = "cgroup v2 cpu";
      const auto words = Words(*text);
      const auto quota = words.size() == 2 ? Number(words[0]) : std::nullopt;
      const auto period = words.size() == 2 ? Number(words[1]) : std::nullopt;
      if (quota && period && *period > 0)
        Tighten(limits.cpu_cores,
                std::optional<double>(static_cast<double>(*quota) / static_cast<double>(*period)));
    }
    if (const auto text = ReadSmallFile(group + "pids.max")) {
      limits.pids_by = "cgroup v2 pids";
      Tighten(limits.pids, Bound(*text));
    }
  }
}

void ReadMemory1(const std::vector<std::string>& groups, CgroupLimits& limits) {
  for (const auto& group : groups)
    if (const auto text = ReadSmallFile(group + "memory.limit_in_bytes")) {
      limits.memory_by = "cgroup v1 memory";
      Tighten(limits.memory, Bound(*text));
      Tighten(limits.memory_swap, Bound(ReadSmallFile(group + "memory.memsw.limit_in_bytes").value_or("")));
    }
}

void ReadCpu1(const std::vector<std::string>& groups, CgroupLimits& limits) {
  for (const auto& group : groups)
    if (const auto text = ReadSmallFile(group + "cpu.cfs_quota_us")) {
      limits.cpu_by = "cgroup v1 cpu";
      const auto quota = Number(*text);
      const auto period = Number(ReadSmallFile(group + "cpu.cfs_period_us").value_or(""));
      if (quota && period && *period > 0)
        Tighten(limits.cpu_cores,
                std::optional<double>(static_cast<double>(*quota) / static_cast<double>(*period)));
    }
}

void ReadPids1(const std::vector<std::string>& groups, CgroupLimits& limits) {
  for (const auto& group : groups)
    if (const auto text = ReadSmallFile(group + "pids.max")) {
      limits.pids_by = "cgroup v1 pids";
      Tighten(limits.pids, Bound(*text));
    }
}

}  // namespace

CgroupLimits ReadCgroupLimits(const std::string& root) {
  CgroupLimits limits;
  const std::string table = ReadSmallFile(root + "/proc/self/cgroup").value_or("");
  const std::string base = root + "/sys/fs/cgroup";
  ReadVersion2(Groups(base, GroupPath(table, "")), limits);
  // A controller is in one version at a time.
  const auto version1 = [&](const char* controller) {
    return Groups(base + "/" + controller, GroupPath(table, controller));
  };
  if (limits.memory_by.empty()) ReadMemory1(version1("memory"), limits);
  if (limits.cpu_by.empty()) ReadCpu1(version1("cpu"), limits);
  if (limits.pids_by.empty()) ReadPids1(version1("pids"), limits);
  return limits;
}

}  // namespace csb::agent
