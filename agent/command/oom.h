// SPDX-License-Identifier: Apache-2.0
//
// oom.h: how many processes of this sandbox the kernel has killed for memory: oom_kill of
// memory.events (cgroup v2) or memory.oom_control (v1), where one of them can be seen from inside.
//
//   OomCounter counter("/run/oom");           // or "" to look under /sys/fs/cgroup
//   auto before = counter.Read();
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace csb::agent {

class OomCounter {
 public:
  explicit OomCounter(const std::string& file);
  // Nothing: not visible here, the host has to tell.
  std::optional<uint64_t> Read() const;
  // Bytes that the sandbox holds now, files in memory included; nothing: not visible here.
  std::optional<uint64_t> Usage() const;

  static std::optional<uint64_t> Parse(std::string_view text);

 private:
  std::vector<std::string> files_, usage_;
};

}  // namespace csb::agent
