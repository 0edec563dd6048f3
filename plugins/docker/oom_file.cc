// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/oom_file.h"

#include <sstream>
#include <vector>

#include "plugins/common/small_file.h"

namespace csb::docker {
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

}  // namespace

std::string FindOomFile(std::string_view cgroup, std::string_view mountinfo) {
  std::string unified, memory;
  std::istringstream lines{std::string(cgroup)};
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1),
                      path = line.substr(second + 1);
    // A path that leaves the visible part, or names other folders, is no place to look.
    if (path.empty() || path.front() != '/' || path.find("/..") != std::string::npos) continue;
    if (controllers.empty()) unified = path;
    if (Contains(controllers, "memory")) memory = path;
  }
  if (!memory.empty()) {
    const std::string point = MountOf(mountinfo, "memory");
    if (!point.empty()) return point + memory + "/memory.oom_control";
  }
  const std::string point = MountOf(mountinfo, "");
  return unified.empty() || point.empty() ? std::string() : point + unified + "/memory.events";
}

std::string OomFileOf(pid_t pid) {
  const auto cgroup = ReadSmallFile("/proc/" + std::to_string(pid) + "/cgroup");
  const auto mounts = ReadSmallFile("/proc/self/mountinfo");
  if (!cgroup || !mounts) return {};
  std::string file = FindOomFile(*cgroup, *mounts);
  return Exists(file) ? file : std::string();
}

}  // namespace csb::docker
