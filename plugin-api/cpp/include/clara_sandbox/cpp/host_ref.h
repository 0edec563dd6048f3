// SPDX-License-Identifier: Apache-2.0
//
// host_ref.h: the host's table, typed. What a plugin gets in Create and may copy freely; valid
// until the plugin's instance is destroyed. Every member is thread-safe ([any]) and throws
// nothing but what a std::string or std::function it returns or takes may throw.
//
//   host.LogInfo("listening on 127.0.0.1:8080");
//   const int64_t port = host.Int("http.port", 8080);
//   if (Status s = host.Post([self] { self->Work(); }); !s) return s.error();
#pragma once

#include <charconv>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/host.h"

namespace csb {

class HostRef {
 public:
  HostRef() = default;
  explicit HostRef(const csb_host* host) : host_(host) {}
  explicit operator bool() const { return host_ != nullptr; }
  const csb_host* get() const { return host_; }

  // One line; level: CSB_LOG_*. Never log keys or code.
  void Log(int32_t level, std::string_view message) const { host_->log(host_, level, Str(message)); }
  void LogDebug(std::string_view message) const { Log(CSB_LOG_DEBUG, message); }
  void LogInfo(std::string_view message) const { Log(CSB_LOG_INFO, message); }
  void LogWarn(std::string_view message) const { Log(CSB_LOG_WARN, message); }
  void LogError(std::string_view message) const { Log(CSB_LOG_ERROR, message); }

  // Options by full key ("http.port"), normalised by the host: sizes in bytes, times in
  // seconds, booleans 1/0. The text lives as long as the host's table. nullopt: unset, unknown.
  std::optional<std::string_view> Config(const char* key) const {
    const csb_str value = host_->config(host_, key);
    if (value.data == nullptr) return std::nullopt;
    return std::string_view(value.data, value.size);
  }
  std::string Text(const char* key, std::string_view fallback = {}) const {
    return std::string(Config(key).value_or(fallback));
  }
  int64_t Int(const char* key, int64_t fallback) const { return Parse(key, fallback); }
  double Number(const char* key, double fallback) const { return Parse(key, fallback); }
  bool Bool(const char* key, bool fallback) const {
    const auto value = Config(key);
    return value ? *value == "1" : fallback;
  }

  uint64_t NowNs() const { return host_->now_ns(host_); }  // CLOCK_MONOTONIC
  // labels: a JSON object of strings, or empty.
  void Count(std::string_view metric, double value = 1, std::string_view labels = {}) const {
    host_->count(host_, Str(metric), Str(labels), value);
  }

  // Runs `work` once on a worker thread of the host; it may block. An exception that leaves it
  // is logged.
  Status Post(std::function<void()> work) const {
    auto job = std::make_unique<Job>(Job{host_, std::move(work)});
    if (host_->post(host_, &Job::Run, job.get()) != CSB_OK)
      return Error{CSB_E_UNAVAILABLE, "the host runs no more work", "it is shutting down", true};
    job.release();  // NOLINT(bugprone-unused-return-value): Run owns it now
    return {};
  }

 private:
  struct Job {
    const csb_host* host;
    std::function<void()> work;
    static void Run(void* ctx) noexcept {
      const std::unique_ptr<Job> job(static_cast<Job*>(ctx));
      try {
        job->work();
      } catch (const std::exception& e) {
        job->host->log(job->host, CSB_LOG_ERROR, Str(e.what()));
      } catch (...) {
        job->host->log(job->host, CSB_LOG_ERROR, Str("an exception of unknown type left posted work"));
      }
    }
  };

  template <typename T>
  T Parse(const char* key, T fallback) const {
    const auto text = Config(key);
    if (!text) return fallback;
    T value{};
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    return error == std::errc() && end == text->data() + text->size() ? value : fallback;
  }

  const csb_host* host_ = nullptr;
};

}  // namespace csb
