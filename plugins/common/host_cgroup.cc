// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/host_cgroup.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <charconv>
#include <sstream>
#include <vector>

#include "plugins/common/small_file.h"

namespace csb {
namespace {

bool Contains(const std::string& list, std::string_view word) {
  std::istringstream words(list);
  for (std::string item; std::getline(words, item, ',');)
    if (item == word) return true;
  return false;
}

// Where a hierarchy with this controller is mounted from its root; "" for version 2.
std::string MountOf(std::string_view mountinfo, std::string_view controller) {
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream head(line.substr(0, dash)), tail(line.substr(dash + 3));
    std::string id, parent, device, root, point, type, source, options;
    head >> id >> parent >> device >> root >> point;
    tail >> type >> source >> options;
    if (root != "/") continue;
    if (controller.empty() ? type == "cgroup2" : type == "cgroup" && Contains(options, controller))
      return point;
  }
  return {};
}

// Version 1 writes a huge number, version 2 "max" for what has no limit.
std::optional<uint64_t> LimitIn(const std::string& file) {
  const auto text = ReadSmallFile(file);
  const auto value = text ? ParseCount(*text) : std::nullopt;
  return value && *value < uint64_t{1} << 60 ? value : std::nullopt;
}

struct Group {
  std::string folder;
  int version = 0;
};

Group GroupOf(pid_t pid, std::string_view controller) {
  const auto cgroup = ReadSmallFile("/proc/" + std::to_string(pid) + "/cgroup");
  const auto mounts = ReadSmallFile("/proc/self/mountinfo");
  Group out;
  if (cgroup && mounts) out.folder = FindGroup(*cgroup, *mounts, controller, &out.version);
  return out;
}

std::optional<double> CoresIn(const Group& group) {
  if (group.version == 1) {
    const auto quota = LimitIn(group.folder + "/cpu.cfs_quota_us"),
               period = LimitIn(group.folder + "/cpu.cfs_period_us");
    if (!quota || !period || *period == 0) return std::nullopt;
    return static_cast<double>(*quota) / static_cast<double>(*period);
  }
  const auto text = ReadSmallFile(group.folder + "/cpu.max");
  std::istringstream words(text ? *text : "");
  uint64_t quota = 0, period = 0;
  if (!(words >> quota >> period) || period == 0) return std::nullopt;
  return static_cast<double>(quota) / static_cast<double>(period);
}

}  // namespace

std::string FindGroup(std::string_view cgroup, std::string_view mountinfo, std::string_view controller,
                      int* version) {
  std::string unified, own;
  std::istringstream lines{std::string(cgroup)};
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1),
                      path = line.substr(second + 1);
    // A path that leaves the visible part, or names other folders, is no place to look.
    if (path.empty() || path.front() != '/' || path.find("/..") != std::string::npos) continue;
    if (controllers.empty()) unified = path;
    if (Contains(controllers, controller)) own = path;
  }
  *version = 1;
  if (!own.empty())
    if (const std::string point = MountOf(mountinfo, controller); !point.empty()) return point + own;
  *version = 2;
  const std::string point = MountOf(mountinfo, "");
  return unified.empty() || point.empty() ? std::string() : point + unified;
}

std::string OomFileOf(pid_t pid) {
  const Group group = GroupOf(pid, "memory");
  if (group.folder.empty()) return {};
  std::string file = group.folder + (group.version == 1 ? "/memory.oom_control" : "/memory.events");
  return Exists(file) ? file : std::string();
}

UniqueFd OomEventOf(const std::string& file, int fd) {
  constexpr std::string_view kVersion1 = "memory.oom_control";
  if (!file.ends_with(kVersion1)) return {};
  const std::string control = file.substr(0, file.size() - kVersion1.size()) + "cgroup.event_control";
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const UniqueFd to(open(control.c_str(), O_WRONLY | O_CLOEXEC));
  const std::string words = std::to_string(event.get()) + " " + std::to_string(fd);
  if (!event || !to || write(to.get(), words.data(), words.size()) < 0) return {};
  return event;
}

std::string MemoryUseFileOf(pid_t pid) {
  const Group group = GroupOf(pid, "memory");
  if (group.folder.empty()) return {};
  std::string file = group.folder + (group.version == 1 ? "/memory.usage_in_bytes" : "/memory.current");
  return Exists(file) ? file : std::string();
}

HostLimits HostLimitsOf(pid_t pid, std::string_view container) {
  HostLimits out;
  Group memory = GroupOf(pid, "memory"), cpu = GroupOf(pid, "cpu"), pids = GroupOf(pid, "pids");
  for (Group* group : {&memory, &cpu, &pids})
    if (container.empty() || group->folder.find(container) == std::string::npos) group->folder.clear();
  out.version = memory.version;
  if (!memory.folder.empty()) {
    const bool v1 = memory.version == 1;
    out.memory = LimitIn(memory.folder + (v1 ? "/memory.limit_in_bytes" : "/memory.max"));
    const auto swap = LimitIn(memory.folder + (v1 ? "/memory.memsw.limit_in_bytes" : "/memory.swap.max"));
    out.swap_excluded = out.memory && swap && (v1 ? *swap <= *out.memory : *swap == 0);
  }
  if (!cpu.folder.empty()) out.cores = CoresIn(cpu);
  if (!pids.folder.empty()) out.pids = LimitIn(pids.folder + "/pids.max");
  return out;
}

}  // namespace csb
