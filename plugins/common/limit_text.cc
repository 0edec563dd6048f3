// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/limit_text.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace csb {
namespace {

constexpr uint64_t kLeastMemory = 16 << 20;  // below, not even the agent and an interpreter start

Error Invalid(std::string message) { return {CSB_E_INVALID, std::move(message), "", false}; }

}  // namespace

Result<uint64_t> ParseSize(std::string_view text) {
  const std::string whole(text);
  if (text == "unlimited" || text == "0") return uint64_t{0};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value) || value <= 0)
    return Invalid("\"" + whole + "\" is not a size");
  std::string unit;
  for (const char c : text.substr(static_cast<size_t>(end - text.data())))
    if (c != ' ') unit += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  double factor = 0;
  if (unit.empty() || unit == "b") factor = 1;
  for (size_t i = 0; i < 5; ++i) {
    const std::string letter(1, "kmgtp"[i]);
    if (unit == letter || unit == letter + "b" || unit == letter + "ib")
      factor = std::pow(1024.0, double(i + 1));
  }
  const double bytes = value * factor;
  if (factor == 0 || bytes < 1 || bytes > 9e18) return Invalid("\"" + whole + "\" is not a size");
  return static_cast<uint64_t>(bytes);
}

std::string FormatCores(double cores) {
  char text[48];
  snprintf(text, sizeof text, "%g cores", cores);
  return text;
}

std::string FormatSize(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 5) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  snprintf(text, sizeof text, value == std::floor(value) ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

Result<RequestedLimits> ReadRequestedLimits(const json::Value& payload) {
  RequestedLimits out;
  if (const json::Value* memory = json::Find(payload, "memory_limit")) {
    uint64_t bytes = 0;
    if (memory->IsUint64()) {
      bytes = memory->GetUint64();
    } else if (memory->IsString()) {
      auto parsed = ParseSize({memory->GetString(), memory->GetStringLength()});
      if (!parsed) return Invalid("memory_limit: " + parsed.error().message);
      bytes = *parsed;
    } else {
      return Invalid("memory_limit: bytes, or text like \"512m\", is expected");
    }
    if (bytes < kLeastMemory) return Invalid("memory_limit: must be at least " + FormatSize(kLeastMemory));
    out.memory = bytes;
  }
  if (const json::Value* cpu = json::Find(payload, "cpu_limit")) {
    double cores = 0;
    if (cpu->IsNumber()) {
      cores = cpu->GetDouble();
    } else if (cpu->IsString()) {
      const std::string_view text(cpu->GetString(), cpu->GetStringLength());
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cores);
      if (error != std::errc() || end != text.data() + text.size()) cores = 0;
    }
    if (!std::isfinite(cores) || cores < 0.01 || cores > 4096)
      return Invalid("cpu_limit: a number of cores from 0.01 to 4096 is expected");
    out.cpu = cores;
  }
  return out;
}

}  // namespace csb
