// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/is_init.h"

#include <sstream>
#include <vector>

#include "plugins/common/small_file.h"

namespace csb::incus {
namespace {

std::vector<std::string> Words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

}  // namespace

bool IsInit(std::string_view status, std::string_view cgroup, std::string_view lxc_name) {
  // "NSpid: 4711 1": here, and in one namespace below. User code may not make namespaces of its own; if it
  // could, its first process would be further down, or not the first in the instance's.
  bool first = false;
  std::istringstream lines{std::string(status)};
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("NSpid:")) continue;
    const std::vector<std::string> pids = Words(line.substr(6));
    first = pids.size() == 2 && pids.back() == "1";
  }
  if (!first) return false;
  const std::string payload = "/lxc.payload." + std::string(lxc_name);
  std::istringstream groups{std::string(cgroup)};
  for (std::string line; std::getline(groups, line);) {
    const size_t at = line.find(payload);
    if (at == std::string::npos) continue;
    const size_t end = at + payload.size();
    if (end == line.size() || line[end] == '/') return true;
  }
  return false;
}

EngineSandbox::IsInit IsInitOf(const std::string& project, const std::string& instance) {
  const std::string name = project == "default" ? instance : project + "_" + instance;
  return [name](pid_t pid) {
    const std::string folder = "/proc/" + std::to_string(pid);
    const auto status = ReadSmallFile(folder + "/status"), cgroup = ReadSmallFile(folder + "/cgroup");
    return status && cgroup && IsInit(*status, *cgroup, name);
  };
}

}  // namespace csb::incus
