// SPDX-License-Identifier: Apache-2.0
//
// What is known of the backends. A probe or a list that does not answer in its time counts as
// answered "no", so that a hung backend holds up its own users only; an answer that comes later is
// taken when it comes.
//
// The breaker. What one user meets may be of that user alone: a member of a cluster that is down, a
// sandbox whose agent tells what it likes. So failures in a row only make the backend suspected: its
// probe decides. Until it has, which is probe_deadline at most, what would ask the engine for its own
// sake (creates, stops, status) waits for the verdict instead of finding out for itself, each with a
// timeout of its own; what runs in open sandboxes goes on.
#include <algorithm>
#include <utility>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "host/service/core.h"

namespace csb::host {
namespace {

constexpr std::chrono::milliseconds kNegativeTtl{5000};

std::string Seconds(std::chrono::milliseconds ms) {
  std::string text = std::to_string(ms.count() / 1000);
  if (ms.count() % 1000 != 0) text += "." + std::to_string(ms.count() % 1000 + 1000).substr(1);
  return text + " s";
}

ProbeResult NotAvailable(std::string reason, std::string hint) {
  ProbeResult probe;
  probe.reason = std::move(reason);
  probe.hint = std::move(hint);
  probe.enforces = "{}";
  return probe;
}

}  // namespace

int Service::Core::IndexOf(std::string_view name) const {
  for (const auto& b : backends)
    if (b->instance.name() == name) return b->index;
  return -1;
}

std::vector<int> Service::Core::AllBackends() const {
  std::vector<int> all;
  for (const auto& b : backends) all.push_back(b->index);
  return all;
}

SelectionInput Service::Core::MakeInput(const std::string& pin, const std::optional<std::string>& requested) {
  SelectionInput input;
  input.mode = options.mode;
  input.order = options.order;
  input.required = required;
  input.choices = options.allow_choice;
  if (!pin.empty()) input.pinned = pin;
  input.requested = requested;
  std::lock_guard lock(backends_mutex);
  for (const auto& b : backends)
    input.candidates.push_back({b->instance.name(), b->probe, b->breaker.OpenReason()});
  return input;
}

void Service::Core::StartCall(int backend, CallRequest request, const OpPtr& follow,
                              std::function<void(Outcome)> done) {
  struct Track {
    bool done = false;
    std::shared_ptr<Call> call;
  };
  const auto track = std::make_shared<Track>();
  bool late;
  {
    std::lock_guard lock(drain_mutex);
    late = over;
    if (!late) ++open_calls;
  }
  // An idle time or a pause that was over just before the drain was.
  if (late) return done(Outcome::Of(ShuttingDown()));
  auto core = shared_from_this();
  auto call = Call::Start(
      backends[static_cast<size_t>(backend)]->instance, timers, std::move(request), options.guard,
      [core, track, done = std::move(done)](Outcome o) {
        done(std::move(o));
        std::shared_ptr<Call> last;
        std::lock_guard lock(core->drain_mutex);
        track->done = true;
        if (track->call) core->calls.erase(track->call);
        last = std::move(track->call);
      },
      [core] {
        std::lock_guard lock(core->drain_mutex);
        --core->open_calls;
        core->drain_changed.notify_all();
      });
  bool cancel;
  {
    std::lock_guard lock(drain_mutex);
    if (!track->done) {
      track->call = call;
      calls.insert(call);
    }
    cancel = cancelling;
  }
  if (cancel) call->Cancel(CSB_E_CANCELLED);
  if (follow) follow->Follow(std::move(call));
}

// ---- breaker ----

void Service::Core::Report(int backend, csb_status code, std::string_view message, bool from_sandbox) {
  BackendState& b = *backends[static_cast<size_t>(backend)];
  if (code != CSB_E_UNAVAILABLE && !(from_sandbox && code == CSB_E_INTERNAL)) {
    // What a user or the host cut short says nothing of the backend.
    if (code != CSB_E_CANCELLED && code != CSB_E_DEADLINE) b.breaker.Succeeded();
    return;
  }
  if (!b.breaker.Failed()) return;
  std::string reason(message.substr(0, 500));
  bool silent;
  {
    std::lock_guard lock(backends_mutex);
    silent = b.overdue;
    if (silent) {
      reason = b.probe->reason + " (" + reason + ")";
    } else {
      // Who goes on failing does not have a backend that is well probed without a pause.
      if (b.suspected || Timers::Clock::now() < b.trusted_until) return;
      b.suspected = true;
      b.suspicion = std::move(reason);
    }
  }
  silent ? OpenBreaker(b, reason) : Probe(backend);
}

bool Service::Core::Suspected(int backend) {
  std::lock_guard lock(backends_mutex);
  return backends[static_cast<size_t>(backend)]->suspected;
}

void Service::Core::OpenBreaker(BackendState& b, std::string_view reason) {
  if (!b.breaker.Open(reason)) return;
  Log(CSB_LOG_WARN, "backend " + b.instance.name() + " is left alone for " + Seconds(options.breaker_open) +
                        ": " + std::string(reason));
  ScheduleRetry(b);
}

void Service::Core::ScheduleRetry(BackendState& b) {
  std::lock_guard lock(backends_mutex);
  if (b.retry_timer != 0 || draining.load()) return;
  b.retry_timer =
      timers.At(Timers::Clock::now() + options.breaker_open, [weak = weak_from_this(), i = b.index] {
        const auto core = weak.lock();
        if (!core) return;
        {
          std::lock_guard lock(core->backends_mutex);
          core->backends[static_cast<size_t>(i)]->retry_timer = 0;
        }
        core->completions->Post([core, i] { core->Probe(i); });
      });
}

// ---- probes ----

void Service::Core::Probe(int backend) {
  BackendState& b = *backends[static_cast<size_t>(backend)];
  uint64_t number;
  {
    std::lock_guard lock(backends_mutex);
    if (b.probing || draining.load()) return;
    b.probing = true;
    number = ++b.probes;
  }
  timers.At(Timers::Clock::now() + options.probe_deadline, [weak = weak_from_this(), backend, number] {
    const auto core = weak.lock();
    if (!core) return;
    core->OnProbe(backend, number,
                  NotAvailable("did not answer its probe within " + Seconds(core->options.probe_deadline),
                               "its engine may hang; see its own log"),
                  false);
  });
  CallRequest request;
  request.op = CSB_OP_PROBE;
  request.deadline = options.probe_deadline;
  StartCall(backend, std::move(request), nullptr, [core = shared_from_this(), backend, number](Outcome o) {
    core->OnProbe(backend, number,
                  o.code == CSB_OK ? ParseProbe(o.result)
                                   : NotAvailable(o.message.empty() ? "its probe failed" : o.message, o.hint),
                  true);
  });
}

void Service::Core::OnProbe(int backend, uint64_t number, ProbeResult result, bool answered) {
  BackendState& b = *backends[static_cast<size_t>(backend)];
  bool open = false, list = false;
  std::string reason = result.reason, cleared;
  const bool available = result.available;
  {
    std::lock_guard lock(backends_mutex);
    if (!answered && (!b.probing || b.probes != number)) return;  // it came in time
    if (answered) b.probing = false;
    b.overdue = !answered;
    if (draining.load()) return;
    if (!b.probe || b.probe->available != available) {
      const std::string line =
          "backend " + b.instance.name() +
          (available ? " is available: " + result.version : " is not available: " + reason);
      Log(CSB_LOG_INFO, line);
    }
    if (available) b.own_channel = result.own_channel;
    b.probe = std::move(result);
    b.probed_at = Timers::Clock::now();
    b.checked_ms = WallMs();
    if (std::exchange(b.suspected, false)) {
      open = !available;
      if (open) {
        reason += " (" + b.suspicion + ")";
      } else {
        cleared = b.suspicion;
        b.trusted_until = b.probed_at + options.breaker_trust;
      }
    }
    list = available && b.list != ListState::kListed && b.list != ListState::kSilent && !b.listing;
  }
  if (!cleared.empty())
    Log(CSB_LOG_INFO, "backend " + b.instance.name() + " stays in use: operations failed in a row (" +
                          cleared + "), but its probe finds it well");
  if (available) {
    if (b.breaker.Close()) Log(CSB_LOG_INFO, "backend " + b.instance.name() + " is back");
  } else if (open) {
    OpenBreaker(b, reason);
  } else if (b.breaker.IsOpen()) {
    ScheduleRetry(b);
  }
  if (list) List(backend);
  RunReady();
}

void Service::Core::Refresh(int backend) {
  const BackendState& b = *backends[static_cast<size_t>(backend)];
  {
    std::lock_guard lock(backends_mutex);
    if (b.probing || !b.probe) return;
    const auto ttl =
        b.probe->available ? options.probe_refresh : std::min(options.probe_refresh, kNegativeTtl);
    if (Timers::Clock::now() < b.probed_at + ttl) return;
  }
  Probe(backend);
}

// ---- lists ----

void Service::Core::List(int backend) {
  BackendState& b = *backends[static_cast<size_t>(backend)];
  {
    std::lock_guard lock(backends_mutex);
    if (b.listing || draining.load()) return;
    b.listing = true;
    b.list_began_ms = WallMs();
  }
  timers.At(Timers::Clock::now() + options.adopt_deadline, [weak = weak_from_this(), backend] {
    const auto core = weak.lock();
    if (!core) return;
    {
      std::lock_guard lock(core->backends_mutex);
      auto& state = core->backends[static_cast<size_t>(backend)]->list;
      if (state != ListState::kPending) return;
      state = ListState::kFailed;
    }
    core->Log(CSB_LOG_WARN,
              "backend " + core->NameOf(backend) + " did not say in time which sandboxes it has");
    core->RunReady();
  });
  CallRequest request;
  request.op = CSB_OP_LIST;
  request.deadline = options.adopt_deadline;
  StartCall(backend, std::move(request), nullptr, [core = shared_from_this(), backend](Outcome o) {
    // Reads a file for each user that is listed: not on the backend's thread.
    core->completions->Post(
        [core, backend, o = std::move(o)]() mutable { core->OnList(backend, std::move(o)); });
  });
}

void Service::Core::OnList(int backend, Outcome outcome) {
  BackendState& b = *backends[static_cast<size_t>(backend)];
  const bool silent = outcome.code == CSB_E_UNSUPPORTED;
  bool listed = false;
  size_t count = 0;
  if (outcome.code == CSB_OK) {
    const auto doc = json::ParseObject(outcome.result);
    const json::Value* sandboxes = doc ? json::Find(*doc, "sandboxes") : nullptr;
    if (sandboxes != nullptr && sandboxes->IsArray()) {
      listed = true;
      for (const auto& info : sandboxes->GetArray()) {
        Adopt(backend, info);
        ++count;
      }
    } else {
      outcome.message = "its list is no JSON object with an array of sandboxes";
    }
  }
  {
    std::lock_guard lock(backends_mutex);
    b.listing = false;
    b.list = listed ? ListState::kListed : silent ? ListState::kSilent : ListState::kFailed;
  }
  if (!listed) {
    Log(CSB_LOG_DEBUG, "backend " + b.instance.name() + " lists no sandboxes: " + outcome.message);
  } else {
    Reconcile(backend);
    if (count > 0)
      Log(CSB_LOG_INFO, "backend " + b.instance.name() + " has " + std::to_string(count) + " sandboxes, " +
                            std::to_string(b.live.load()) + " of them live");
  }
  // Those who were kept for the list's sake, and nobody else: what lists told is needed until a user's next
  // use.
  ForEachUser([this](const UserPtr& user) {
    {
      std::lock_guard lock(user->mutex);
      if (user->generation == 0) return;
    }
    MaybeForget(user);
  });
  RunReady();
}

bool Service::Core::Listing() {
  std::lock_guard lock(backends_mutex);
  return std::any_of(backends.begin(), backends.end(), [](const auto& b) { return b->listing; });
}

// The engine says that it holds this user's files, and maybe runs the sandbox.
void Service::Core::Adopt(int backend, const json::Value& info) {
  const auto id = json::GetString(info, "user_id");
  if (!id || !CheckUserId(*id)) {
    Log(CSB_LOG_WARN,
        "backend " + NameOf(backend) + " lists a sandbox without a proper user id; it is left alone");
    return;
  }
  auto [user, lock] = LockUser(*id);
  LoadRecord(*user);
  const std::string& name = NameOf(backend);
  // A copy that a move left there, or did not finish, is nobody's home whatever the engine says.
  if (name == user->moved_from || name == user->moving_to) return;
  user->listed.push_back(backend);
  if (user->live || user->control == Control::kRunning) return;
  if (!user->pin.empty() && user->pin != name) {
    const int home = IndexOf(user->pin);
    if (home < 0) return;
    const bool has = std::find(user->listed.begin(), user->listed.end(), home) != user->listed.end();
    if (has || KnowsBetter(*user, home, backend)) return;
    MoveHome(*user, name);
  }
  user->pin = name;
  // Whether a sandbox that this process has had still runs it knows from later than the list.
  if (user->generation == 0 && !records.Moving(user->name)) AdoptLive(user, backend, info);
}

// Whether the record is right against lists by which the user is on `other` and not at `home`: where `home`
// has not answered, or the record tells of something later than either list does.
bool Service::Core::KnowsBetter(const User& user, int home, int other) {
  const int64_t newest = std::max({static_cast<int64_t>(user.revision), user.created_ms, user.last_used_ms});
  std::lock_guard lock(backends_mutex);
  const BackendState& b = *backends[static_cast<size_t>(home)];
  return b.list != ListState::kListed ||
         newest >= std::min(b.list_began_ms, backends[static_cast<size_t>(other)]->list_began_ms);
}

// The record names one backend, which has answered and does not have the user, while another has:
// the engines are right.
void Service::Core::MoveHome(User& user, const std::string& name) {
  Log(CSB_LOG_WARN, "the record of user " + user.name + " names backend " + user.pin +
                        ", but the files are on " + name + ": that is used");
  user.pin = name;
  user.kept = false;
}

// A live sandbox that does not enforce what it must is left to the next create, which refuses it.
void Service::Core::AdoptLive(const UserPtr& user, int backend, const json::Value& info) {
  if (json::GetString(info, "status") != "running" || !Gaps(info, required).empty()) return;
  if (!user->slot) {  // it is there, whatever the limit says
    user->slot = true;
    slots.fetch_add(1);
  }
  BecomeLive(user, backend, info);
}

// For those whom other backends listed before this one answered.
void Service::Core::Reconcile(int backend) {
  const std::string& name = NameOf(backend);
  ForEachUser([&](const UserPtr& user) {
    std::lock_guard lock(user->mutex);
    if (user->live || user->pin != name || user->listed.empty() || user->control == Control::kRunning) return;
    if (std::find(user->listed.begin(), user->listed.end(), backend) != user->listed.end()) return;
    if (KnowsBetter(*user, backend, user->listed.front())) return;
    MoveHome(*user, NameOf(user->listed.front()));
  });
}

// ---- readiness ----

bool Service::Core::ReadyLocked(const BackendState& b) const {
  if (!b.probe) return false;
  if (!b.probe->available) return true;
  // What was well long ago may not be: wait for the fresh answer.
  if (b.probing && Timers::Clock::now() > b.probed_at + 2 * options.probe_refresh) return false;
  if (b.suspected) return false;
  return b.list != ListState::kPending;
}

void Service::Core::WhenReady(std::vector<int> needs, std::function<void()> fn) {
  for (int i : needs) Refresh(i);
  {
    std::lock_guard lock(backends_mutex);
    const bool ready = std::all_of(needs.begin(), needs.end(),
                                   [&](int i) { return ReadyLocked(*backends[static_cast<size_t>(i)]); });
    if (!ready && !draining.load()) {
      waiters.push_back({std::move(needs), std::move(fn)});
      return;
    }
  }
  fn();
}

void Service::Core::RunReady() {
  std::vector<std::function<void()>> ready;
  {
    std::lock_guard lock(backends_mutex);
    auto keep = waiters.begin();
    for (auto& waiter : waiters) {
      const bool all = std::all_of(waiter.needs.begin(), waiter.needs.end(),
                                   [&](int i) { return ReadyLocked(*backends[static_cast<size_t>(i)]); });
      if (all || draining.load()) {
        ready.push_back(std::move(waiter.fn));
      } else {
        if (&*keep != &waiter) *keep = std::move(waiter);
        ++keep;
      }
    }
    waiters.erase(keep, waiters.end());
  }
  for (auto& fn : ready) completions->Post(std::move(fn));
}

}  // namespace csb::host
