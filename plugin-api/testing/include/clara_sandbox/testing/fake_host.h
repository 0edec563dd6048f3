// SPDX-License-Identifier: Apache-2.0
//
// fake_host.h: a csb_host for unit tests of plugins, in memory.
//
//   csb::testing::FakeHost host(FakeHost::Options{{"mine.memory", "536870912"}});
//   auto backend = MyBackend::Create(host.ref());
//   …
//   EXPECT_TRUE(host.Logged("image is missing"));
//
// Thread-safe. Posted work runs on worker threads of its own; the destructor runs what is
// queued and joins.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/host.h"

namespace csb::testing {

class FakeHost {
 public:
  struct LogLine {
    int32_t level;
    std::string message;
  };

  using Options = std::map<std::string, std::string>;

  // options: full keys and normalised values, see HostRef::Config.
  explicit FakeHost(Options options = {}, int workers = 2);
  ~FakeHost();
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  const csb_host* table() const { return &table_; }
  HostRef ref() const { return HostRef(&table_); }

  // Before the plugin reads it.
  void Set(const std::string& key, std::string value);
  // From now on post fails, as when a host shuts down.
  void RefuseWork();
  // What was posted and has not begun, and what is posted from now on, runs as the fake ends, when the plugin
  // may be gone.
  void HoldWork();
  // There is such work; waits up to ten seconds for it.
  bool HoldsWork();

  std::vector<LogLine> logs() const;
  // Some line contains `part`.
  bool Logged(std::string_view part) const;
  // Sum over all labels.
  double counter(const std::string& metric) const;

 private:
  static FakeHost& Of(const csb_host* host) { return *static_cast<FakeHost*>(host->impl); }
  static void Log(const csb_host* host, int32_t level, csb_str message);
  static csb_str Config(const csb_host* host, const char* key);
  static uint64_t Now(const csb_host* host);
  static void Count(const csb_host* host, csb_str metric, csb_str labels, double value);
  static csb_status Post(const csb_host* host, void (*fn)(void*), void* ctx);
  static const void* GetExtension(const csb_host* host, const char* id);
  void Work();

  csb_host table_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::map<std::string, std::string> config_;
  std::vector<LogLine> logs_;
  std::map<std::string, double> counters_;
  std::deque<std::function<void()>> queue_;
  bool refuse_ = false, hold_ = false;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace csb::testing
