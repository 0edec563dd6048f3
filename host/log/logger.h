// SPDX-License-Identifier: Apache-2.0
//
// logger.h: what the host and its plugins log, to stderr only, as text or as JSON lines.
//
//   Logger log({.level = CSB_LOG_INFO, .json = false});
//   log.Log(CSB_LOG_WARN, "http", "certificate ends in 3 days");
//   // 2026-01-31T12:00:00.123Z warn  http: certificate ends in 3 days
//   // {"time":"2026-01-31T12:00:00.123Z","level":"warn","plugin":"http","message":"certificate ends in 3
//   days"}
//
// A message is always one line: control characters and ill-formed UTF-8 in it are escaped, so that nothing
// which a user sends can forge a line or move a terminal's cursor. Times are UTC.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace csb::host {

struct LogOptions {
  int32_t level = 2;  // CSB_LOG_*: less important lines are dropped
  bool json = false;
  bool colours = true;  // only on a terminal, never with NO_COLOR set
};

class Logger {
 public:
  explicit Logger(const LogOptions& options);
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  bool Wants(int32_t level) const;  // [any]
  // Writes one line before it returns. [any]
  void Log(int32_t level, std::string_view plugin, std::string_view message) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// CSB_LOG_* of "trace" … "error"; CSB_LOG_INFO for another word.
int32_t LogLevel(std::string_view name);

// One line, as it is written in JSON; `time` is RFC 3339. For tests.
std::string JsonLine(std::string_view time, int32_t level, std::string_view plugin, std::string_view message);
// `message` with control characters as \n, \t, \x1b and ill-formed UTF-8 as U+FFFD.
std::string OneLine(std::string_view message);

}  // namespace csb::host
