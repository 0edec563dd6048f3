// SPDX-License-Identifier: Apache-2.0
//
// limit_text.h: limits as people write them and as they are shown. 0 means unlimited, everywhere.
//
//   auto asked = ReadRequestedLimits(payload);     // of a create
//   if (!asked) return asked.error();
//   limits.memory = asked->memory.value_or(limits.memory);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"

namespace csb {

// "512m", "512MiB", "1g", "1.5G", "4096", "unlimited"; powers of 1024.
Result<uint64_t> ParseSize(std::string_view text);
// "512 MiB"
std::string FormatSize(uint64_t bytes);
// "1.5 cores"
std::string FormatCores(double cores);

struct RequestedLimits {
  std::optional<uint64_t> memory;  // bytes, 16 MiB at least
  std::optional<double> cpu;       // cores, 0.01 to 4096
};
// memory_limit (bytes or text like "512m") and cpu_limit (cores) of a create; errors name the member.
Result<RequestedLimits> ReadRequestedLimits(const json::Value& payload);

}  // namespace csb
