// SPDX-License-Identifier: Apache-2.0
#include "agent/command/oom.h"

#include <algorithm>
#include <charconv>

#include "agent/base/proc_file.h"

namespace csb::agent {

OomCounter::OomCounter(const std::string& file) {
  if (!file.empty())
    files_ = {file};
  else
    files_ = {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"};
  // Beside the counter, in whichever dialect.
  for (const std::string& name : files_) {
    const std::string folder = name.substr(0, name.rfind('/') + 1);
    usage_.push_back(folder + "memory.current");
    usage_.push_back(folder + "memory.usage_in_bytes");
  }
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
  for (const auto& name : files_)
    if (const auto text = ReadSmallFile(name))
      if (auto value = Parse(*text)) return value;
  return std::nullopt;
}

std::optional<uint64_t> OomCounter::Usage() const {
  for (const auto& name : usage_) {
    const auto text = ReadSmallFile(name);
    if (!text) continue;
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error == std::errc() && end != text->data()) return value;
  }
  return std::nullopt;
}

}  // namespace csb::agent
