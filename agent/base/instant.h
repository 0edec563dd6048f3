// SPDX-License-Identifier: Apache-2.0
//
// instant.h: the wall clock, as answers tell it.
//
//   json::Member(w, "started_at", Instant(WallMs()));   // "2026-01-31T12:00:00.000Z"
#pragma once

#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>

namespace csb::agent {

// Milliseconds since 1970.
inline int64_t WallMs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

// RFC 3339, UTC.
inline std::string Instant(int64_t ms) {
  const time_t seconds = static_cast<time_t>(ms / 1000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char day[32], text[48];
  strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(text, sizeof text, "%s.%03dZ", day, static_cast<int>(ms % 1000));
  return text;
}

}  // namespace csb::agent
