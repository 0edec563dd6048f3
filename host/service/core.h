// SPDX-License-Identifier: Apache-2.0
//
// core.h: the service behind service.h. Its members stand in files by subject:
//
//   core.cc       submit, the queue of a user, the ends of operations
//   lifecycle.cc  create, stop, restart, destroy, idle stop, what must be enforced
//   backends.cc   probes, breakers, adoption, readiness, choosing
//   local.cc      status, list, health, info, explain, metrics
//   records.cc    what is written of users, and forgetting them
//   drain.cc      shutdown
//
// Locks, outermost first: shard → User::mutex → Operation's → {backends_mutex, leaf mutexes}. No
// lock is held while a backend or a frontend is called.
// Threads: a live user's operation goes to the backend in the caller's thread and its events come
// on the backend's. What the service ends itself ends on `completions`, one thread, so that no
// event ever comes from inside submit and none overlap.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "host/selection/selection.h"
#include "host/service/breaker.h"
#include "host/service/call.h"
#include "host/service/operation.h"
#include "host/service/policy.h"
#include "host/service/record.h"
#include "host/service/service.h"
#include "host/service/user.h"
#include "host/service/validate.h"

namespace csb::host {

enum class ListState : uint8_t {
  kPending,
  kListed,
  kSilent,  // it cannot list
  kFailed,
};

struct BackendState {
  BackendState(BackendInstance& backend, int i, int breaker_failures)
      : instance(backend), index(i), breaker(breaker_failures) {}
  BackendInstance& instance;
  const int index;
  double idle_seconds = 0;  // 0: never
  Breaker breaker;
  std::atomic<int64_t> live{0};
  std::atomic<bool> own_channel{false};  // by its last good probe

  // Under Core::backends_mutex.
  std::optional<ProbeResult> probe;
  Timers::Clock::time_point probed_at{};
  int64_t checked_ms = 0;
  bool probing = false;    // a probe is at the backend
  uint64_t probes = 0;     // started
  bool overdue = false;    // the one at the backend has had its time
  bool suspected = false;  // operations fail; the probe under way decides on the breaker
  std::string suspicion;
  Timers::Clock::time_point trusted_until{};  // a probe has just cleared it
  Timers::Id retry_timer = 0;
  ListState list = ListState::kPending;
  bool listing = false;
  int64_t list_began_ms = 0;  // of the last list: what happened later it does not tell
  std::set<std::string> warned;
};

struct Service::Core : std::enable_shared_from_this<Service::Core> {
  Core(ServiceOptions options, const std::vector<BackendInstance*>& backends, HostServices& services,
       Workers& workers, Timers& timers, Metrics& metrics);

  using UserPtr = std::shared_ptr<User>;
  using OpPtr = std::shared_ptr<Operation>;

  // core.cc
  csb_status Submit(const csb_request* request, const csb_events* events, void* ctx, csb_op** out,
                    csb_error* error);
  Status Enter(const OpPtr& op, std::string_view id);
  void EnterQueue(const OpPtr& op, std::string_view id);
  // Whether a call in the user's open sandbox may be tried while the backend is left alone. The user is
  // locked.
  static bool GoesOn(const User& user, const BackendState& b);
  UserPtr GetUser(std::string_view id);
  // The user's entry, locked, its record read.
  std::pair<UserPtr, std::unique_lock<std::mutex>> LockUser(std::string_view id);
  void Pump(const UserPtr& user);
  // A backend's on_done for a sandbox operation. false: it was put back and is not over.
  bool OnBackendDone(const OpPtr& op, csb_outcome& outcome);
  void Unqueue(const OpPtr& op);
  static void AddRunning(User& user, Operation& op);
  static void RemoveRunning(User& user, Operation& op);
  void MarkAbsent(User& user);  // locked
  bool Begin();
  void End();
  void Account(uint32_t op, const User* user, int backend, csb_status code, std::string_view request_id,
               Timers::Clock::time_point started);
  void Log(int32_t level, const std::string& line) { services.Log(level, "service", line); }

  // lifecycle.cc
  void StartControl(const UserPtr& user, const OpPtr& op);
  bool DoubtsHome(User& user);
  void RunControl(const UserPtr& user, const OpPtr& op);
  void FindRunning(const UserPtr& user, const OpPtr& op);
  void RunCreate(const UserPtr& user, const OpPtr& op);
  void RunRestart(const UserPtr& user, const OpPtr& op);
  void RunEnd(const UserPtr& user, const OpPtr& op);  // stop, destroy
  bool PurgeOldCopies(const UserPtr& user, const OpPtr& op);
  void OnReady(const UserPtr& user, const OpPtr& op, int backend, bool was_live, bool was_pinned,
               Outcome outcome);
  void BecomeLive(const UserPtr& user, int backend, const json::Value& info);  // locked
  void NoteMember(User& user, const json::Value& info);                        // locked
  void Refuse(const UserPtr& user, const OpPtr& op, int backend, bool was_pinned, Error error);
  // Where the user's sandbox or files are; *backend stays -1 when nowhere.
  std::optional<Error> FindHome(User& user, int* backend, bool* live);
  void CleanUp(const UserPtr& user, int backend, uint32_t op, std::function<void()> then);
  void FailWaiting(const UserPtr& user, const OpPtr& op, const Error& error);
  void FailControl(const UserPtr& user, const OpPtr& op, const Error& error);
  void ReleaseControl(const UserPtr& user);
  void EndControl(const UserPtr& user);
  bool TakeSlot(User& user);  // locked
  void ReleaseSlot(User& user);
  Timers::Clock::duration IdleTime(int backend) const;
  void ArmIdle(const UserPtr& user, Timers::Clock::time_point when);  // locked
  void ArmIdleFromNow(const UserPtr& user);                           // locked
  void OnIdle(const UserPtr& user, uint64_t generation);
  std::optional<Error> CheckEnforced(int backend, const json::Value& info);
  // The info of a backend with what the service knows. Not an object: as it came.
  std::string MergeInfo(User& user, int backend, std::string_view info);

  // backends.cc
  void StartCall(int backend, CallRequest request, const OpPtr& follow, std::function<void(Outcome)> done);
  void Report(int backend, csb_status code, std::string_view message, bool from_sandbox);
  bool Suspected(int backend);
  void OpenBreaker(BackendState& b, std::string_view reason);
  void ScheduleRetry(BackendState& b);
  void Probe(int backend);
  void OnProbe(int backend, uint64_t number, ProbeResult result, bool answered);
  void List(int backend);
  void OnList(int backend, Outcome outcome);
  bool Listing();  // some backend's list is under way
  void Adopt(int backend, const json::Value& info);
  void AdoptLive(const UserPtr& user, int backend, const json::Value& info);  // locked
  void MoveHome(User& user, const std::string& name);                         // locked
  bool KnowsBetter(const User& user, int home, int other);                    // locked; takes backends_mutex
  void Reconcile(int backend);
  bool ReadyLocked(const BackendState& b) const;
  void Refresh(int backend);
  // Runs fn once each of `needs` has answered its probe and its list, or has had its time; in the
  // caller's thread when that is so already.
  void WhenReady(std::vector<int> needs, std::function<void()> fn);
  void RunReady();
  int IndexOf(std::string_view name) const;  // -1: not loaded
  SelectionInput MakeInput(const std::string& pin, const std::optional<std::string>& requested);
  std::vector<int> AllBackends() const;
  const std::string& NameOf(int backend) const {
    return backends[static_cast<size_t>(backend)]->instance.name();
  }

  // local.cc
  void StartStatus(const OpPtr& op);
  void RunStatus(const OpPtr& op);
  void StartLocal(const OpPtr& op);
  void StartListAll(const OpPtr& op);
  void WriteLive(json::Writer& w, int backend);
  std::string Health();
  std::string Info();
  std::string Explain();

  // records.cc
  // A backend that keeps the files calls it stopped; the user has none all the same.
  bool WasDestroyed(User& user);                 // locked
  void LoadRecord(User& user);                   // locked
  void SaveSoon(const UserPtr& user, bool now);  // locked
  void WriteRecords();
  void MaybeForget(const UserPtr& user);
  void ForEachUser(const std::function<void(const UserPtr&)>& fn);

  // drain.cc
  void Drain(std::chrono::milliseconds grace);
  void CancelAll();

  const ServiceOptions options;
  const Limits limits;
  const std::vector<std::string> required;
  HostServices& services;
  Workers& workers;
  Timers& timers;
  Metrics& metrics;
  RecordStore records;
  std::vector<std::unique_ptr<BackendState>> backends;
  csb_service_v1 table{};
  int32_t log_level = CSB_LOG_INFO;

  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, UserPtr> users;
  };
  std::array<Shard, 16> shards;
  std::atomic<size_t> slots{0};

  std::mutex backends_mutex;
  struct Waiter {
    std::vector<int> needs;
    std::function<void()> fn;
  };
  std::vector<Waiter> waiters;  // under backends_mutex

  std::mutex records_mutex;
  std::vector<UserPtr> unsaved;
  bool writing = false;
  std::condition_variable records_idle;
  Timers::Id flush_timer = 0;

  std::atomic<bool> draining{false};
  std::atomic<int64_t> active{0};  // operations of frontends that are not over
  std::mutex drain_mutex;          // also guards calls and locals
  std::condition_variable drain_changed;
  std::unordered_set<std::shared_ptr<Call>> calls;
  int64_t open_calls = 0;            // whose handle is not closed yet
  bool cancelling = false;           // calls are cancelled as they start
  bool over = false;                 // no call starts: the backends go next
  std::unordered_set<OpPtr> locals;  // neither queued at a user nor at a backend
  bool drained = false;

  // Last, so that it ends first.
  std::unique_ptr<Workers> completions = std::make_unique<Workers>(1);
};

std::string FormatTime(int64_t ms);  // RFC 3339 UTC with milliseconds
int64_t WallMs();                    // milliseconds since the epoch
Error Unavailable(const std::string& backend, const std::string& reason);
Error NoSandbox();
// Looks at what runs in a sandbox, so it must not make one.
bool NeedsRunning(uint32_t op);
Error ShuttingDown();
Error BeingMoved();

}  // namespace csb::host
