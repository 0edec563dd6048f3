// SPDX-License-Identifier: Apache-2.0
#include "host/log/logger.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <exception>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/host.h"

namespace csb::host {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"trace", "debug", "info", "warn", "error"};

size_t Index(int32_t level) {
  return static_cast<size_t>(std::clamp<int32_t>(level, CSB_LOG_TRACE, CSB_LOG_ERROR));
}

std::string Now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  std::array<char, 40> text;
  const int n =
      std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900,
                    utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000);
  return {text.data(), static_cast<size_t>(std::max(n, 0))};
}

}  // namespace

struct Logger::Impl {
  Impl(const LogOptions& o, spdlog::color_mode mode)
      : options(o), logger("clara-sandbox", std::make_shared<spdlog::sinks::stderr_color_sink_mt>(mode)) {}
  LogOptions options;
  spdlog::logger logger;
};

Logger::Logger(const LogOptions& options) {
  const char* no_color = std::getenv("NO_COLOR");
  const bool plain = options.json || !options.colours || (no_color != nullptr && *no_color != 0);
  impl_ = std::make_unique<Impl>(options, plain ? spdlog::color_mode::never : spdlog::color_mode::automatic);
  impl_->logger.set_formatter(std::make_unique<spdlog::pattern_formatter>(
      options.json ? "%v" : "%Y-%m-%dT%H:%M:%S.%eZ %^%v%$", spdlog::pattern_time_type::utc));
  impl_->logger.set_level(spdlog::level::trace);
  impl_->logger.flush_on(spdlog::level::trace);
}

Logger::~Logger() = default;

bool Logger::Wants(int32_t level) const { return level >= impl_->options.level; }

void Logger::Log(int32_t level, std::string_view plugin, std::string_view message) noexcept {
  if (!Wants(level)) return;
  try {
    static constexpr std::array kLevels = {spdlog::level::trace, spdlog::level::debug, spdlog::level::info,
                                           spdlog::level::warn, spdlog::level::err};
    if (impl_->options.json) {
      impl_->logger.log(kLevels[Index(level)], JsonLine(Now(), level, plugin, message));
    } else {
      std::string line(kNames[Index(level)]);
      line.resize(6, ' ');
      impl_->logger.log(kLevels[Index(level)], line.append(plugin).append(": ").append(OneLine(message)));
    }
  } catch (const std::exception& error) {
    // Out of memory or a broken stderr: there is no better place to say it.
    std::fprintf(stderr, "clara-sandbox: a line could not be logged: %s\n", error.what());
  }
}

int32_t LogLevel(std::string_view name) {
  const auto it = std::find(kNames.begin(), kNames.end(), name);
  return it == kNames.end() ? CSB_LOG_INFO : static_cast<int32_t>(it - kNames.begin());
}

std::string JsonLine(std::string_view time, int32_t level, std::string_view plugin,
                     std::string_view message) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::Member(writer, "time", time);
  json::Member(writer, "level", kNames[Index(level)]);
  json::Member(writer, "plugin", utf8::Clean(plugin));
  json::Member(writer, "message", utf8::Clean(message));
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string OneLine(std::string_view message) {
  std::string out;
  const std::string clean = utf8::Clean(message);
  static constexpr char kHex[] = "0123456789abcdef";
  for (size_t i = 0; i < clean.size(); ++i) {
    const auto byte = static_cast<unsigned char>(clean[i]);
    const bool c1 = byte == 0xC2 && i + 1 < clean.size() && static_cast<unsigned char>(clean[i + 1]) < 0xA0;
    if (byte == '\n')
      out += "\\n";
    else if (byte == '\t')
      out += "\\t";
    else if (byte < 0x20 || byte == 0x7F)
      (out += "\\x") += {kHex[byte >> 4], kHex[byte & 15]};
    else if (c1) {
      const auto next = static_cast<unsigned char>(clean[++i]);
      (out += "\\u00") += {kHex[next >> 4], kHex[next & 15]};
    } else {
      out += clean[i];
    }
  }
  return out;
}

}  // namespace csb::host
