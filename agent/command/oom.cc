// SPDX-License-Identifier: Apache-2.0
#include "agent/command/oom.h"

#include <fcntl.h>

#include <algorithm>

#include "agent/base/fd.h"

namespace csb::agent {

OomCounter::OomCounter(const std::string& file) {
  if (!file.empty())
    files_ = {file};
  else
    files_ = {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"};
}

std::optional<uint64_t> OomCounter::Parse(std::string_view text) {
  constexpr std::string_view kName = "oom_kill ";
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.substr(0, kName.size()) == kName) {
      uint64_t value = 0;
      for (const char c : line.substr(kName.size())) {
        if (c < '0' || c > '9') return std::nullopt;
        value = value * 10 + static_cast<uint64_t>(c - '0');
      }
      return value;
    }
    at = end + 1;
  }
  return std::nullopt;
}

std::optional<uint64_t> OomCounter::Read() const {
  for (const auto& name : files_) {
    const Fd file(open(name.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) continue;
    char buffer[1024];
    const ssize_t n = read(file.get(), buffer, sizeof buffer);
    if (n > 0)
      if (auto value = Parse({buffer, static_cast<size_t>(n)})) return value;
  }
  return std::nullopt;
}

}  // namespace csb::agent
