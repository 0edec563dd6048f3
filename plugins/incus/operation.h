// SPDX-License-Identifier: Apache-2.0
//
// operation.h: waits for what the engine does in the background (its answer was 202).
//
//   Operations operations(client, "?project=default");
//   auto done = operations.Await(id, "create the instance m1", deadline);
//   if (!done) return done.error();
//
// While the event stream is open, an operation's end comes as an event, also one that was here before the
// answer that names the operation: the last ones are remembered. Where the stream is not open, breaks, or
// says nothing for 1 s, the operation's own /wait is asked. Thread-safe; Await blocks and is for a worker's
// thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"
#include "plugins/incus/engine_json.h"

namespace csb::incus {

class Operations {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kRemembered = 1024;

  // The client outlives it. query: what each path ends with, "?project=…".
  Operations(HttpClient& client, std::string query) : client_(client), query_(std::move(query)) {}

  // Its end, a good one. Errors: the engine's (engine_error.h); CSB_E_DEADLINE: the engine is asked once to
  // cancel it, and may finish it all the same; CSB_E_UNAVAILABLE: the engine does not know it any more.
  // id: a UUID.
  Result<OperationInfo> Await(const std::string& id, const std::string& what, Clock::time_point deadline);

  // Any thread; does not block. metadata: of an event of type "operation".
  void OnEvent(const json::Value& metadata);
  void SetOpen(bool open);

 private:
  Result<OperationInfo> Poll(const std::string& id, const std::string& what, Clock::time_point deadline);
  bool Take(const std::string& id, OperationInfo* out);  // with mutex_
  Error GiveUp(const std::string& id, const std::string& what);

  HttpClient& client_;
  const std::string query_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  std::map<std::string, OperationInfo> ended_;
  std::deque<std::string> order_;  // of ended_, oldest first; may name some that were taken
};

}  // namespace csb::incus
