// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/rfc3339.h"

#include <time.h>

#include <cstdio>

namespace csb {

std::string Rfc3339Now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char text[64];
  snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", parts.tm_year + 1900, parts.tm_mon + 1,
           parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1'000'000);
  return text;
}

std::optional<std::chrono::system_clock::time_point> ParseRfc3339(const std::string& text) {
  tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  if (*rest == '.') do
      ++rest;
    while (*rest >= '0' && *rest <= '9');
  long offset = 0;
  if (*rest == '+' || *rest == '-') {
    int hours = 0, minutes = 0, used = 0;
    if (sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || rest[1 + used] != 0)
      return std::nullopt;
    offset = (hours * 60L + minutes) * (*rest == '+' ? 60 : -60);
  } else if (*rest != 'Z' || rest[1] != 0) {
    return std::nullopt;
  }
  return std::chrono::system_clock::from_time_t(timegm(&parts) - offset);
}

bool OlderThan(const std::string& text, std::chrono::minutes age) {
  const auto at = ParseRfc3339(text);
  return at && std::chrono::system_clock::now() - *at > age;
}

}  // namespace csb
