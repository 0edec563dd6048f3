// SPDX-License-Identifier: Apache-2.0
//
// fake_backend.h: a csb_backend_v1 in memory for tests of the service. It keeps sandboxes, answers
// on threads of its own, can be told to hold, fail or hang, and watches that the service keeps its
// promises (one life-cycle step a user at a time, no operation without a sandbox created).
//
//   FakeBackend docker("docker", services);
//   docker.Hold(CSB_OP_CREATE);         // creates wait …
//   docker.Release(CSB_OP_CREATE);      // … until now, in the order they came
//   docker.Fail(CSB_OP_CREATE, {CSB_E_UNAVAILABLE, "Docker daemon not running", "start it", true});
//   docker.Hang();                      // from now on nothing is answered, cancels neither
//   EXPECT_EQ(docker.count(CSB_OP_CREATE), 1);
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "clara_sandbox/plugin.h"
#include "host/base/workers.h"
#include "host/plugin/instance.h"

namespace csb::host {

class FakeBackend {
 public:
  FakeBackend(std::string name, HostServices& services);
  ~FakeBackend();

  BackendInstance* instance() { return instance_.get(); }

  // What comes of this kind waits for Release; a cancel still ends it.
  void Hold(uint32_t op);
  void Release(uint32_t op);
  // What comes of this kind is done, and its answer waits for ReleaseAnswers: it tells of what was.
  void HoldAnswers(uint32_t op);
  void ReleaseAnswers();
  bool WaitHeldAnswers(int n) const;
  void Fail(uint32_t op, std::optional<Error> error);  // asynchronously; nullopt: works again
  void FailFor(const std::string& user, uint32_t op, std::optional<Error> error);
  void FailSubmit(uint32_t op, std::optional<Error> error);  // from submit itself
  void Hang(bool on = true);
  void HangSubmit(uint32_t op, bool on = true);  // submit of this kind does not return
  void SetAvailable(bool available, std::string reason = "");
  void SetEnforced(std::string json);
  void SetOwnChannel();  // its probes say so from now on
  // Puts a sandbox there, as another process would.
  void Put(const std::string& user, bool live);
  // Its info says so from now on.
  void SetMember(const std::string& user, std::string member);
  // Ends it unseen: the next operation finds none. `then` runs before anything else happens here.
  void Lose(const std::string& user, const std::function<void()>& then = {});
  // Its files are gone, too.
  void Drop(const std::string& user);
  // Operations are of the sandbox that was there when they came, and find none when it is another one. seen
  // is called, with nothing else happening here, when an operation runs in a sandbox and when files are
  // purged.
  using Seen = std::function<void(const std::string& user, uint32_t op)>;
  void Watch(Seen seen);

  int count(uint32_t op) const;  // submitted
  int held(uint32_t op) const;
  bool WaitHeld(uint32_t op, int n) const;
  bool WaitCount(uint32_t op, int n) const;
  bool Has(const std::string& user) const;  // files or live
  bool Live(const std::string& user) const;
  int live() const;
  int most_live() const;
  std::vector<std::string> violations() const;
  std::string last_payload(uint32_t op) const;
  uint64_t last_deadline(uint32_t op) const;

 private:
  struct Op;
  struct Sandbox {
    bool made = false;  // has files
    bool live = false;
    int life = 0;  // rises with each sandbox that is made
    std::string member;
    int lifecycle = 0;  // steps under way
  };
  using OpPtr = std::shared_ptr<Op>;

  static csb_status Create(const csb_host* host, csb_backend** out, csb_error* error);
  static csb_status Submit(csb_backend* backend, const csb_request* request, const csb_events* events,
                           void* ctx, csb_op** out, csb_error* error);
  void Run(const OpPtr& op);
  void Finish(const OpPtr& op, csb_status code, std::string result, Error error = {});
  std::string InfoOf(const std::string& user, const Sandbox& sandbox) const;  // locked
  template <typename F>
  auto Locked(F f) const {
    std::lock_guard lock(mutex_);
    return f();
  }

  const std::string name_;
  csb_plugin descriptor_{};
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::string, Sandbox> sandboxes_;
  std::set<uint32_t> holding_, hanging_submits_;
  std::vector<OpPtr> held_;
  std::set<uint32_t> holding_answers_;
  std::vector<std::function<void()>> held_answers_;
  std::map<uint32_t, Error> failures_, submit_failures_;
  std::map<std::pair<std::string, uint32_t>, Error> user_failures_;
  std::map<uint32_t, int> counts_;
  std::map<uint32_t, std::string> payloads_;
  std::map<uint32_t, uint64_t> deadlines_;
  std::vector<std::string> violations_;
  Seen seen_;
  std::string enforced_;
  bool hang_ = false;
  bool available_ = true, own_channel_ = false;
  std::string reason_;
  int most_live_ = 0;
  std::unique_ptr<Workers> threads_ = std::make_unique<Workers>(3);
  std::unique_ptr<BackendInstance> instance_;
};

}  // namespace csb::host
