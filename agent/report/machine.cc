// SPDX-License-Identifier: Apache-2.0
#include "agent/report/machine.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "agent/base/proc_file.h"

namespace csb::agent {
namespace {

// PROC_PID_INIT_INO and PROC_USER_INIT_INO of the kernel (linux/proc_ns.h): fixed numbers, which no namespace
// that is made later ever gets.
constexpr std::string_view kFirstPids = "pid:[4026531836]";
constexpr std::string_view kFirstUsers = "user:[4026531837]";

std::string Link(const std::string& path) {
  char target[64];
  const ssize_t n = readlink(path.c_str(), target, sizeof target);
  return n < 0 ? "" : std::string(target, static_cast<size_t>(n));
}

std::optional<uint64_t> Memory(const std::string& meminfo) {
  const std::string total = StatusField(meminfo, "MemTotal");  // "NUMBER kB"
  uint64_t kib = 0;
  const auto [end, error] = std::from_chars(total.data(), total.data() + total.size(), kib);
  if (error != std::errc() || kib == 0 || kib > UINT64_MAX / 1024) return std::nullopt;
  return kib * 1024;
}

std::optional<uint64_t> Processors(std::string_view stat) {
  uint64_t count = 0;
  while (!stat.empty()) {
    const std::string_view line = stat.substr(0, stat.find('\n'));
    stat.remove_prefix(std::min(stat.size(), line.size() + 1));
    if (line.size() > 3 && line.substr(0, 3) == "cpu" && line[3] >= '0' && line[3] <= '9') ++count;
  }
  return count > 0 ? std::optional(count) : std::nullopt;
}

// x86 sets a flag; elsewhere the maker's name has to do.
bool OnHypervisor(const std::string& root) {
  const std::string info = ReadSmallFile(root + "/proc/cpuinfo").value_or("");
  const std::string maker = ReadSmallFile(root + "/sys/class/dmi/id/sys_vendor").value_or("");
  const auto words = Words(std::string_view(info).substr(0, info.find("\n\n")));
  return std::find(words.begin(), words.end(), "hypervisor") != words.end() || Trimmed(maker) == "QEMU";
}

std::string Kind(const std::string& root) {
  const std::string pids = Link(root + "/proc/self/ns/pid");
  const std::string users = Link(root + "/proc/self/ns/user");
  if (pids.empty() || users.empty()) return "";
  if (pids != kFirstPids || users != kFirstUsers) return "container";
  return OnHypervisor(root) ? "vm" : "none";
}

}  // namespace

Machine ReadMachine(const std::string& root) {
  return {Memory(ReadSmallFile(root + "/proc/meminfo").value_or("")),
          Processors(ReadSmallFile(root + "/proc/stat").value_or("")), Kind(root)};
}

}  // namespace csb::agent
