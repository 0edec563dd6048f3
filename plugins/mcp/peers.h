// SPDX-License-Identifier: Apache-2.0
//
// peers.h: what the requests of one client share when each comes over a session of its own, as over
// HTTP: a notification that cancels another request, an answer to what another one asked.
//
//   peers->Add(scope, id, call);            // while it runs; a scope is one client's
//   peers->Cancel(scope, "7");              // from another session: call->GiveUp()
//   std::string ask = peers->Question(scope, then);
//   peers->Answer(scope, ask, message);     // calls then(message), once
//
// Thread-safe. Nothing is called with a lock held.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "clara_sandbox/cpp/json.h"

namespace csb::mcp {

class PeerCall {
 public:
  virtual ~PeerCall() = default;
  virtual void GiveUp() = 0;
};

class Peers {
 public:
  using Then = std::function<void(const json::Value& message)>;
  static constexpr size_t kMaxQuestions = 1024;  // unanswered ones; beyond it none is asked

  void Add(const std::string& scope, std::string_view id, std::weak_ptr<PeerCall> call);
  void Remove(const std::string& scope, std::string_view id, const PeerCall* call);
  void Cancel(const std::string& scope, std::string_view id);

  // The id to ask with, as JSON text; nobody else can guess it. Empty: too many are open.
  std::string Question(const std::string& scope, Then then);
  void Answer(const std::string& scope, std::string_view id, const json::Value& message);
  void Forget(const std::string& scope, std::string_view id);

 private:
  using Name = std::pair<std::string, std::string>;  // scope, id
  std::mutex mu_;
  std::map<Name, std::weak_ptr<PeerCall>> calls_;
  std::map<Name, Then> questions_;
};

// 32 hex digits of the kernel's random numbers.
std::string RandomName();

}  // namespace csb::mcp
