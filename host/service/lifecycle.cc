// SPDX-License-Identifier: Apache-2.0
//
// One life-cycle step of a user at a time:
//
//   StartControl        waits for what has to be known first (probes, lists)
//   RunControl          decides, and asks the backend
//   OnReady, OnEnded    what the backend answered
//   EndControl          lets the queue go on
#include <algorithm>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "host/service/core.h"

namespace csb::host {
namespace {

bool IsLifecycle(uint32_t op) {
  return op == CSB_OP_CREATE || op == CSB_OP_STOP || op == CSB_OP_RESTART || op == CSB_OP_DESTROY;
}

std::string_view ModeName(std::string_view backend) { return backend == "incus-vm" ? "incus" : backend; }

}  // namespace

// op null: the sandbox is made because operations wait for it.
void Service::Core::StartControl(const UserPtr& user, const OpPtr& op) {
  const bool create = !op || op->op == CSB_OP_CREATE;
  std::string pin;
  bool live;
  int backend;
  {
    std::lock_guard lock(user->mutex);
    LoadRecord(*user);  // another host process may have made one, or moved the user
    live = user->live;
    backend = user->backend;
    pin = user->pin;
  }
  std::vector<int> needs;
  if (live) {
    if (Suspected(backend)) needs.push_back(backend);
  } else if (!pin.empty()) {
    if (const int index = IndexOf(pin); index >= 0) needs.push_back(index);
  } else if (create) {
    for (size_t index : Considered(MakeInput("", op ? op->requested_backend : std::nullopt)))
      needs.push_back(static_cast<int>(index));
  } else {
    needs = AllBackends();
  }
  WhenReady(std::move(needs), [core = shared_from_this(), user, op] {
    if (!core->DoubtsHome(*user)) return core->RunControl(user, op);
    core->WhenReady(core->AllBackends(), [core, user, op] { core->RunControl(user, op); });
  });
}

// The record names a backend that does not know the user: one of the others may.
bool Service::Core::DoubtsHome(User& user) {
  std::lock_guard lock(user.mutex);
  const int home = user.live || user.generation > 0 ? -1 : IndexOf(user.pin);
  if (home < 0 || std::find(user.listed.begin(), user.listed.end(), home) != user.listed.end()) return false;
  std::lock_guard backends_lock(backends_mutex);
  return backends[static_cast<size_t>(home)]->list == ListState::kListed;
}

void Service::Core::RunControl(const UserPtr& user, const OpPtr& op) {
  if (op && !op->Take()) return EndControl(user);
  bool wanted = true, moving = false;
  OpPtr looks;  // waits, and must not make a sandbox
  {
    std::lock_guard lock(user->mutex);
    user->control = Control::kRunning;
    if (!op && !user->live && !user->queue.empty() && NeedsRunning(user->queue.front()->op) &&
        !user->queue.front()->seen_running)
      looks = user->queue.front();
    // Adopted meanwhile, or nobody waits any more.
    if (!op && (user->live || user->queue.empty() || IsLifecycle(user->queue.front()->op))) wanted = false;
    if (wanted) LoadRecord(*user);  // some time may have gone by since StartControl
    moving = wanted && records.Moving(user->name);
  }
  if (!wanted) return EndControl(user);
  if (moving) return FailControl(user, op, BeingMoved());
  if (draining.load()) return FailControl(user, op, ShuttingDown());
  if (looks) return FindRunning(user, looks);
  switch (op ? op->op : CSB_OP_CREATE) {
    case CSB_OP_CREATE:
      return RunCreate(user, op);
    case CSB_OP_RESTART:
      return RunRestart(user, op);
    default:
      return RunEnd(user, op);
  }
}

void Service::Core::RunCreate(const UserPtr& user, const OpPtr& op) {
  std::string pin;
  bool live;
  int target;
  {
    std::lock_guard lock(user->mutex);
    live = user->live;
    target = user->backend;
    pin = user->pin;
  }
  const auto requested = op ? op->requested_backend : std::nullopt;
  if (live) {
    const BackendState& b = *backends[static_cast<size_t>(target)];
    const std::string& name = b.instance.name();
    if (requested)
      if (auto refused = RefusedChoice(MakeInput(name, requested))) return FailControl(user, op, *refused);
    if (requested && ModeName(*requested) != name)
      return FailControl(
          user, op,
          {CSB_E_CONFLICT, "backend: the user's sandbox is on " + name + ", not on " + *requested,
           "leave the backend out; `clara-sandbox move USER --to " + *requested + "` carries the files over",
           false});
    if (auto reason = b.breaker.OpenReason()) return FailControl(user, op, Unavailable(name, *reason));
  } else {
    const Selection s = Select(MakeInput(pin, requested));
    if (!s.chosen) return FailControl(user, op, s.error);
    target = static_cast<int>(*s.chosen);
  }
  {
    std::unique_lock lock(user->mutex);
    if (!TakeSlot(*user)) {
      lock.unlock();
      return FailControl(
          user, op,
          {CSB_E_NO_CAPACITY, "all " + std::to_string(options.max_sandboxes) + " sandboxes are in use",
           "try again later; stop one that is not needed, or raise SANDBOX_MAX_CONTAINERS", true});
    }
  }
  if (op) op->backend = target;
  CallRequest request;
  request.op = CSB_OP_CREATE;
  request.user = user->id;
  request.deadline = options.create_deadline;
  if (op) {
    request.request_id = op->request_id;
    request.payload = op->payload;
    request.on_event = [op](uint32_t event, std::string_view json) { op->ForwardEvent(event, json); };
  }
  StartCall(target, std::move(request), op,
            [core = shared_from_this(), user, op, target, live, pinned = !pin.empty()](Outcome o) {
              core->OnReady(user, op, target, live, pinned, std::move(o));
            });
}

void Service::Core::RunRestart(const UserPtr& user, const OpPtr& op) {
  int target = -1;
  bool live;
  if (auto error = FindHome(*user, &target, &live)) return FailControl(user, op, *error);
  if (target < 0) return FailControl(user, op, NoSandbox());
  {
    std::unique_lock lock(user->mutex);
    if (!TakeSlot(*user)) {
      lock.unlock();
      return FailControl(user, op, {CSB_E_NO_CAPACITY, "all sandboxes are in use", "try again later", true});
    }
  }
  op->backend = target;
  CallRequest request;
  request.op = CSB_OP_RESTART;
  request.user = user->id;
  request.request_id = op->request_id;
  request.deadline = options.create_deadline;
  request.on_event = [op](uint32_t event, std::string_view json) { op->ForwardEvent(event, json); };
  StartCall(target, std::move(request), op, [core = shared_from_this(), user, op, target, live](Outcome o) {
    core->OnReady(user, op, target, live, true, std::move(o));
  });
}

void Service::Core::OnReady(const UserPtr& user, const OpPtr& op, int backend, bool was_live, bool was_pinned,
                            Outcome outcome) {
  Report(backend, outcome.code, outcome.message, false);
  const bool restart = op && op->op == CSB_OP_RESTART;
  if (outcome.code != CSB_OK) {
    const csb_status code = outcome.code;
    {
      std::lock_guard lock(user->mutex);
      if (code == CSB_E_GONE || code == CSB_E_NO_SANDBOX || (restart && code == CSB_E_NOT_FOUND))
        MarkAbsent(*user);
    }
    if (restart && code == CSB_E_NO_SANDBOX) outcome = Outcome::Of(NoSandbox());
    // Whoever was cut off in the middle may have left a sandbox that runs. A new user's has no files
    // yet and goes, but without a purge: what that might delete are files that nobody knows of.
    const bool cut_off = code == CSB_E_DEADLINE || code == CSB_E_CANCELLED || code == CSB_E_INTERNAL;
    if (!was_live && cut_off && !draining.load()) {
      FailWaiting(user, op, outcome.ToError());
      return CleanUp(user, backend, was_pinned ? CSB_OP_STOP : CSB_OP_DESTROY,
                     [core = shared_from_this(), user] { core->EndControl(user); });
    }
    return FailControl(user, op, outcome.ToError());
  }
  auto info = json::ParseObject(outcome.result);
  if (!info) {
    Error error{CSB_E_INTERNAL,
                "plugin " + NameOf(backend) + " answered create with something that is no JSON object", "",
                false};
    return Refuse(user, op, backend, was_pinned, std::move(error));
  }
  if (auto error = CheckEnforced(backend, *info))
    return Refuse(user, op, backend, was_pinned, *std::move(error));
  bool moved, moving;
  {
    std::lock_guard lock(user->mutex);
    LoadRecord(*user);
    moved = !user->pin.empty() && user->pin != NameOf(backend);
    moving = records.Moving(user->name);
    if (moving) MarkAbsent(*user);
  }
  // What moves the user began, or ended, while this was made; while it lasts the sandbox is its own.
  if (moving) return FailControl(user, op, BeingMoved());
  if (moved) return Refuse(user, op, backend, was_pinned, BeingMoved());
  {
    std::lock_guard lock(user->mutex);
    if (!user->live) {
      BecomeLive(user, backend, *info);
    } else if (restart) {
      NoteMember(*user, *info);
      ++user->generation;  // what ran before is gone and tells nothing of this one
      ArmIdleFromNow(user);
    }
    user->last_active = Timers::Clock::now();
    user->pin = NameOf(backend);
    if (user->created_ms == 0) user->created_ms = WallMs();
    if (!was_live) SaveSoon(user, true);
  }
  if (op) op->Finish({.result = MergeInfo(*user, backend, outcome.result)});
  ReleaseControl(user);
  Pump(user);
}

void Service::Core::BecomeLive(const UserPtr& user, int backend, const json::Value& info) {
  BackendState& b = *backends[static_cast<size_t>(backend)];
  user->live = true;
  user->destroyed = false;
  user->backend = backend;
  ++user->generation;
  user->last_active = Timers::Clock::now();
  b.live.fetch_add(1);
  user->member = metrics.SandboxStarted(backend, json::GetString(info, "member").value_or(""));
  ArmIdleFromNow(user);
}

// An engine may have moved a sandbox while nobody asked.
void Service::Core::NoteMember(User& user, const json::Value& info) {
  const std::string_view member = json::GetString(info, "member").value_or("");
  if (!user.live || member == user.member) return;
  metrics.SandboxEnded(user.backend, user.member);
  user.member = metrics.SandboxStarted(user.backend, member);
}

// A purge is of everything: copies that moves have left on other backends go first. false: none is left.
// Where one cannot be removed the purge fails, before it has removed anything that is served.
bool Service::Core::PurgeOldCopies(const UserPtr& user, const OpPtr& op) {
  const auto payload = json::ParseObject(op->payload);
  if (op->op != CSB_OP_DESTROY || !payload || json::GetBool(*payload, "purge") != true) return false;
  std::string name;
  {
    std::lock_guard lock(user->mutex);
    name = user->moved_from.empty() ? user->moving_to : user->moved_from;
  }
  if (name.empty()) return false;
  const int index = IndexOf(name);
  const auto fail = [core = shared_from_this(), user, op, name](const std::string& why) {
    core->FailControl(
        user, op,
        {CSB_E_UNAVAILABLE,
         "an old copy of the user's files is on backend " + name + ", and was not removed: " + why,
         "try again once that backend answers; if it is gone for good, `clara-sandbox move USER "
         "--forget` leaves the copy behind",
         true});
  };
  if (index < 0) {
    fail("it is not loaded");
    return true;
  }
  if (const auto reason = backends[static_cast<size_t>(index)]->breaker.OpenReason()) {
    fail(*reason);
    return true;
  }
  CallRequest request;
  request.op = CSB_OP_DESTROY;
  request.user = user->id;
  request.request_id = op->request_id;
  request.payload = R"({"purge":true})";
  request.deadline = options.control_deadline;
  StartCall(index, std::move(request), op,
            [core = shared_from_this(), user, op, name, index, fail](Outcome o) {
              core->Report(index, o.code, o.message, false);
              if (o.code != CSB_OK && o.code != CSB_E_NO_SANDBOX && o.code != CSB_E_NOT_FOUND)
                return fail(o.message);
              core->completions->Post([core, user, op, name, fail] {
                const Status kept = core->records.Update(user->id, [&](UserRecord& record) {
                  if (record.moved_from == name) record.moved_from.clear();
                  if (record.moving_to == name) record.moving_to.clear();
                });
                if (!kept) return fail(kept.error().message);
                {
                  std::lock_guard lock(user->mutex);
                  core->LoadRecord(*user);
                }
                core->RunEnd(user, op);
              });
            });
  return true;
}

// stop, destroy
void Service::Core::RunEnd(const UserPtr& user, const OpPtr& op) {
  if (PurgeOldCopies(user, op)) return;
  int target = -1;
  bool live;
  if (auto error = FindHome(*user, &target, &live)) return FailControl(user, op, *error);
  const bool destroy = op->op == CSB_OP_DESTROY;
  if (target < 0 && destroy) {
    // Another host may have made one, on an engine that both reach; nobody's files stay for being asked of
    // the wrong host. Asked is where a create would go.
    const Selection s = Select(MakeInput("", std::nullopt));
    if (s.chosen) target = static_cast<int>(*s.chosen);
  }
  const char* const not_found =
      destroy ? R"({"status":"not_found","files_preserved":false})" : R"({"status":"not_found"})";
  if (target < 0) {
    op->Finish({.result = not_found});
    return EndControl(user);
  }
  bool again = false;
  if (destroy && !live) {
    std::lock_guard lock(user->mutex);
    again = WasDestroyed(*user);
  }
  op->backend = target;
  CallRequest request;
  request.op = op->op;
  request.user = user->id;
  request.request_id = op->request_id;
  request.payload = op->payload;
  request.deadline = options.control_deadline;
  StartCall(target, std::move(request), op,
            [core = shared_from_this(), user, op, target, destroy, again, not_found](Outcome o) {
              core->Report(target, o.code, o.message, false);
              if (o.code == CSB_E_NO_SANDBOX || o.code == CSB_E_NOT_FOUND) o = {.result = not_found};
              if (o.code == CSB_OK) {
                const auto doc = json::ParseObject(o.result);
                std::lock_guard lock(user->mutex);
                core->MarkAbsent(*user);
                core->ReleaseSlot(*user);  // before anybody hears of the end
                if (destroy) {
                  user->created_ms = 0;
                  user->execution_count = 0;
                  const bool files = !doc || json::GetBool(*doc, "files_preserved") != false;
                  user->destroyed = files;
                  if (!files) user->pin.clear();
                  if (files && again) o.result = R"({"status":"not_found","files_preserved":true})";
                }
                core->SaveSoon(user, true);
              }
              op->Finish(std::move(o));
              core->EndControl(user);
            });
}

std::optional<Error> Service::Core::FindHome(User& user, int* backend, bool* live) {
  std::string pin;
  {
    std::lock_guard lock(user.mutex);
    *live = user.live;
    *backend = user.live ? user.backend : -1;
    pin = user.pin;
  }
  if (*live) {
    const BackendState& b = *backends[static_cast<size_t>(*backend)];
    if (auto reason = b.breaker.OpenReason()) return Unavailable(b.instance.name(), *reason);
    return std::nullopt;
  }
  if (pin.empty()) return std::nullopt;
  // Neither the mode nor what must be enforced keeps a user from ending a sandbox.
  SelectionInput input = MakeInput(pin, std::nullopt);
  input.mode = "auto";
  input.required.clear();
  const Selection s = Select(input);
  if (!s.chosen) return s.error;
  *backend = static_cast<int>(*s.chosen);
  return std::nullopt;
}

// ---- ends of a step ----

void Service::Core::FailWaiting(const UserPtr& user, const OpPtr& op, const Error& error) {
  if (op) return op->Finish(Outcome::Of(error));
  std::vector<OpPtr> waiting;
  {
    std::lock_guard lock(user->mutex);
    while (!user->queue.empty() && !IsLifecycle(user->queue.front()->op)) {
      waiting.push_back(std::move(user->queue.front()));
      user->queue.pop_front();
    }
  }
  for (const auto& each : waiting) each->FinishIfQueued(Outcome::Of(error));
}

void Service::Core::FailControl(const UserPtr& user, const OpPtr& op, const Error& error) {
  {
    // Before anybody hears of it.
    std::lock_guard lock(user->mutex);
    if (!user->live) ReleaseSlot(*user);
  }
  FailWaiting(user, op, error);
  EndControl(user);
}

// A sandbox that does not keep what was promised ends before anybody hears of it.
void Service::Core::Refuse(const UserPtr& user, const OpPtr& op, int backend, bool was_pinned, Error error) {
  {
    std::lock_guard lock(user->mutex);
    MarkAbsent(*user);
  }
  CleanUp(user, backend, was_pinned ? CSB_OP_STOP : CSB_OP_DESTROY,
          [core = shared_from_this(), user, op, e = std::move(error)] { core->FailControl(user, op, e); });
}

void Service::Core::CleanUp(const UserPtr& user, int backend, uint32_t op, std::function<void()> then) {
  CallRequest request;
  request.op = op;
  request.user = user->id;
  request.deadline = options.probe_deadline;
  StartCall(backend, std::move(request), nullptr,
            [core = shared_from_this(), user, backend, then = std::move(then)](Outcome o) {
              if (o.code != CSB_OK && o.code != CSB_E_NO_SANDBOX && o.code != CSB_E_NOT_FOUND)
                core->Log(CSB_LOG_WARN, "backend " + core->NameOf(backend) + " did not clean up after " +
                                            user->name + ": " + o.message);
              then();
            });
}

void Service::Core::ReleaseControl(const UserPtr& user) {
  std::lock_guard lock(user->mutex);
  user->control = Control::kNone;
  if (!user->live) ReleaseSlot(*user);
}

// The queue goes on from the completion thread: steps that end at once must not pile up on one stack.
void Service::Core::EndControl(const UserPtr& user) {
  ReleaseControl(user);
  completions->Post([core = shared_from_this(), user] {
    core->Pump(user);
    core->MaybeForget(user);
  });
}

bool Service::Core::TakeSlot(User& user) {
  if (user.slot) return true;
  size_t used = slots.load();
  do {
    if (used >= options.max_sandboxes) return false;
  } while (!slots.compare_exchange_weak(used, used + 1));
  user.slot = true;
  return true;
}

void Service::Core::ReleaseSlot(User& user) {
  if (std::exchange(user.slot, false)) slots.fetch_sub(1);
}

// ---- idle ----

Timers::Clock::duration Service::Core::IdleTime(int backend) const {
  return std::chrono::duration_cast<Timers::Clock::duration>(
      std::chrono::duration<double>(backends[static_cast<size_t>(backend)]->idle_seconds));
}

void Service::Core::ArmIdleFromNow(const UserPtr& user) {
  const auto timeout = IdleTime(user->backend);
  if (timeout.count() > 0) ArmIdle(user, Timers::Clock::now() + timeout);
}

void Service::Core::ArmIdle(const UserPtr& user, Timers::Clock::time_point when) {
  if (user->idle_timer != 0) timers.Cancel(user->idle_timer);
  user->idle_timer = timers.At(
      when, [weak = weak_from_this(), weak_user = std::weak_ptr<User>(user), generation = user->generation] {
        const auto core = weak.lock();
        const auto user = weak_user.lock();
        if (core && user) core->OnIdle(user, generation);
      });
}

// One timer a sandbox, which looks when it comes whether anything has happened since: the hot path
// only notes the time. A request that came first keeps the sandbox; one that comes after the stop
// has begun waits in the queue and finds a new sandbox.
void Service::Core::OnIdle(const UserPtr& user, uint64_t generation) {
  int backend;
  {
    std::lock_guard lock(user->mutex);
    if (!user->live || user->generation != generation || draining.load()) return;
    user->idle_timer = 0;
    backend = user->backend;
    const auto timeout = IdleTime(backend);
    const auto now = Timers::Clock::now();
    const bool busy = !user->running.empty() || !user->queue.empty() || user->control != Control::kNone;
    if (busy || now < user->last_active + timeout)
      return ArmIdle(user, busy ? now + timeout : user->last_active + timeout);
    user->control = Control::kRunning;
  }
  // Off the timer thread: a plugin is called.
  completions->Post([core = shared_from_this(), user, backend] {
    if (core->records.Moving(user->name)) {  // what runs there is the mover's
      {
        std::lock_guard lock(user->mutex);
        core->MarkAbsent(*user);
      }
      return core->EndControl(user);
    }
    CallRequest request;
    request.op = CSB_OP_STOP;
    request.user = user->id;
    // Another host process may be using it; what that one does is not seen here.
    request.payload = R"({"if_unused":true})";
    request.deadline = core->options.control_deadline;
    core->StartCall(backend, std::move(request), nullptr, [core, user, backend](Outcome o) {
      core->Report(backend, o.code, o.message, false);
      const bool stopped = o.code == CSB_OK || o.code == CSB_E_NO_SANDBOX || o.code == CSB_E_NOT_FOUND;
      core->Log(stopped ? CSB_LOG_INFO : CSB_LOG_WARN, "idle stop user=" + user->name +
                                                           " backend=" + core->NameOf(backend) +
                                                           (stopped ? "" : " failed: " + o.message));
      {
        std::lock_guard lock(user->mutex);
        if (stopped) {
          core->MarkAbsent(*user);
          core->SaveSoon(user, true);
        } else if (user->live) {
          core->ArmIdleFromNow(user);
        }
      }
      core->EndControl(user);
    });
  });
}

// ---- what a sandbox says of itself ----

std::optional<Error> Service::Core::CheckEnforced(int backend, const json::Value& info) {
  BackendState& b = *backends[static_cast<size_t>(backend)];
  const auto missing = Gaps(info, required);
  if (!missing.empty()) {
    std::string names, list, demanded;
    for (const Gap& gap : missing) {
      if (std::find(options.require.begin(), options.require.end(), gap.name) != options.require.end())
        demanded += (demanded.empty() ? "" : " ") + gap.name;
      names += (names.empty() ? "" : " ") + gap.name;
      list += (list.empty() ? "" : "; ") + gap.name + " (" + gap.why + ")";
    }
    return Error{CSB_E_UNAVAILABLE,
                 "the sandbox was refused: backend " + b.instance.name() + " does not enforce " + list,
                 "`clara-sandbox doctor` says how to have it enforced; " +
                     (demanded.empty() ? "`sandbox.allow_unenforced = " + names + "` accepts it"
                                       : "sandbox.require demands " + demanded),
                 false};
  }
  for (const Gap& gap : Gaps(info, kProtections)) {
    // What was set so deliberately is no news; explain shows it.
    if (!gap.configured) continue;
    {
      std::lock_guard lock(backends_mutex);
      if (!b.warned.insert(gap.name).second) continue;
    }
    Log(CSB_LOG_WARN, "backend " + b.instance.name() + " does not enforce " + gap.name + ": " + gap.why);
  }
  return std::nullopt;
}

std::string Service::Core::MergeInfo(User& user, int backend, std::string_view info) {
  auto doc = json::ParseObject(info);
  if (!doc) return std::string(info);
  uint64_t count;
  int64_t last_used;
  bool old_copy;
  {
    std::lock_guard lock(user.mutex);
    count = user.execution_count;
    last_used = user.last_used_ms != 0 ? user.last_used_ms : user.created_ms;
    old_copy = NameOf(backend) == user.moved_from || NameOf(backend) == user.moving_to;
  }
  auto& allocator = doc->GetAllocator();
  const auto set = [&](const char* name, json::Value value) {
    doc->RemoveMember(name);
    doc->AddMember(rapidjson::StringRef(name), value, allocator);
  };
  set("user_id", json::Value(user.id, allocator));
  set("backend", json::Value(NameOf(backend), allocator));
  set("execution_count", json::Value(count));
  if (last_used != 0) set("last_used", json::Value(FormatTime(last_used), allocator));
  if (old_copy) set("old_copy", json::Value(true));
  return json::ToString(*doc);
}

}  // namespace csb::host
