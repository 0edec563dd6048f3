// SPDX-License-Identifier: Apache-2.0
//
// caller.h: one request of an operation: the user's address is found, the request is sent, and sent again
// where that is safe: when there was no connection yet, when doing it twice is no different from once, or
// when the service keeps `Idempotency-Key` (then a repeated request gets the first one's answer).
//
//   auto caller = Caller::Make(links, request, {.build = …, .done = …});
//   caller->Start();
//   caller->Cancel();      // done comes with CSB_E_CANCELLED
//
// Threads: callbacks come on the reactor's thread or inside Start; the functions may be called from any.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "clara_sandbox/cpp/request.h"
#include "plugins/remote/links.h"
#include "plugins/remote/mapping.h"

namespace csb::remote {

class Caller : public std::enable_shared_from_this<Caller> {
 public:
  struct Steps {
    // The request for what an address offers. Called again for each attempt.
    std::function<Result<Mapped>(const Peer&)> build;
    // The end. Of an answer, whatever its status; the link is null when none was found.
    std::function<void(Result<HttpResponse>, Link*)> done;
    // Some of the answer was used already: it is not sent again.
    std::function<bool()> used = {};
  };

  static std::shared_ptr<Caller> Make(std::shared_ptr<Links> links, const RequestView& request, Steps steps);

  // Finds the address and what it offers; then `found` on its way, before `build`. Without it: Send follows.
  void Find(std::function<void(Link&)> found);
  void Send();
  void Start() {
    Find([self = shared_from_this()](Link&) { self->Send(); });
  }
  void Cancel();
  void Resume();
  // The service does not answer any more: ends with CSB_E_UNAVAILABLE.
  void Lose();
  // Seconds until the request's deadline; 0: it has none. At least a millisecond.
  double Left() const;
  Reactor& reactor() { return links_->reactor(); }

 private:
  Caller(std::shared_ptr<Links> links, const RequestView& request, Steps steps);
  void Learn(Link* link, std::function<void(Link&)> found);
  void OnAnswer(const Mapped& mapped, Result<HttpResponse> answer);
  bool Again(const Mapped& mapped, const Result<HttpResponse>& answer);
  void Later(std::chrono::milliseconds pause, bool elsewhere);
  void End(Result<HttpResponse> answer);
  std::chrono::milliseconds Limit(const Mapped& mapped) const;
  bool Stopped();
  Error Silence(bool sent) const;

  const std::shared_ptr<Links> links_;
  const std::string user_, request_id_;
  const uint64_t deadline_ns_;
  Steps steps_;
  std::function<void(Link&)> again_;  // what follows when an address was found
  std::string key_;                   // Idempotency-Key
  std::string instance_;              // of the service's process that got the first attempt
  int attempts_ = 0;
  bool began_ = false;  // the last attempt had a connection; the reactor's thread
  bool ever_began_ = false;

  std::mutex mutex_;  // of what follows
  Link* link_ = nullptr;
  HttpClient::CallId call_ = 0;
  bool cancelled_ = false, lost_ = false, ended_ = false;
};

}  // namespace csb::remote
