// SPDX-License-Identifier: Apache-2.0
#include "host/service/core.h"

#include <cmath>
#include <cstdlib>
#include <ctime>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/operations.h"

namespace csb::host {
namespace {

enum class Kind { kSandbox, kControl, kStatus, kLocal, kRefused };

Kind KindOf(uint32_t op) {
  switch (op) {
    case CSB_OP_CREATE:
    case CSB_OP_STOP:
    case CSB_OP_RESTART:
    case CSB_OP_DESTROY:
      return Kind::kControl;
    case CSB_OP_STATUS:
      return Kind::kStatus;
    case CSB_OP_LIST:
    case CSB_OP_HEALTH:
    case CSB_OP_INFO:
    case CSB_OP_EXPLAIN:
    case CSB_OP_METRICS:
      return Kind::kLocal;
    case CSB_OP_PROBE:
      return Kind::kRefused;
    default:
      return Kind::kSandbox;
  }
}

bool RunsCode(uint32_t op) {
  return op == CSB_OP_EXECUTE || op == CSB_OP_SHELL || op == CSB_OP_EXEC || op == CSB_OP_PIP_INSTALL ||
         op == CSB_OP_PIP_LIST || op == CSB_OP_UNZIP;
}

double IdleSeconds(HostServices& services, const std::string& backend) {
  const auto text = services.Config(backend + ".timeout");
  if (!text) return 0;
  const double seconds = std::strtod(std::string(*text).c_str(), nullptr);
  return std::isfinite(seconds) && seconds > 0 ? seconds : 0;
}

int32_t LevelOf(HostServices& services) {
  const auto level = services.Config("log.level").value_or("info");
  if (level == "trace") return CSB_LOG_TRACE;
  if (level == "debug") return CSB_LOG_DEBUG;
  if (level == "warn") return CSB_LOG_WARN;
  if (level == "error") return CSB_LOG_ERROR;
  return CSB_LOG_INFO;
}

}  // namespace

int64_t WallMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string FormatTime(int64_t ms) {
  const time_t seconds = static_cast<time_t>(ms / 1000);
  tm utc{};
  gmtime_r(&seconds, &utc);
  char text[64];
  const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(text + n, sizeof text - n, ".%03dZ", static_cast<int>(ms % 1000));
  return text;
}

Error Unavailable(const std::string& backend, const std::string& reason) {
  return {
      CSB_E_UNAVAILABLE, "backend " + backend + " cannot be used: " + reason,
      "the user's files are there; try again soon, and see `clara-sandbox doctor`; " + std::string(kMoveHint),
      true};
}

Error NoSandbox() {
  return {CSB_E_NOT_FOUND, "the user has no sandbox", "run something first: that makes one", false};
}

Error BeingMoved() {
  return {CSB_E_UNAVAILABLE, "the user's files are being moved to another backend",
          "try again when `clara-sandbox move` is done", true};
}

Error ShuttingDown() {
  return {CSB_E_CANCELLED, "the service is shutting down", "try again once it is back", true};
}

Service::Core::Core(ServiceOptions given, const std::vector<BackendInstance*>& instances,
                    HostServices& host_services, Workers& pool, Timers& shared_timers, Metrics& counters)
    : options(std::move(given)),
      limits{options.default_execution_timeout, options.max_execution_timeout},
      required(Required(options.require, options.allow_unenforced, options.public_listener)),
      services(host_services),
      workers(pool),
      timers(shared_timers),
      metrics(counters),
      records(options.state_dir, [this](std::string line) { Log(CSB_LOG_WARN, line); }),
      log_level(LevelOf(services)) {
  for (BackendInstance* instance : instances) {
    auto state = std::make_unique<BackendState>(*instance, static_cast<int>(backends.size()),
                                                options.breaker_failures);
    state->idle_seconds = IdleSeconds(services, instance->name());
    backends.push_back(std::move(state));
  }
  table.struct_size = sizeof table;
  table.self = reinterpret_cast<csb_service*>(this);
  table.submit = [](csb_service* self, const csb_request* request, const csb_events* events, void* ctx,
                    csb_op** out, csb_error* error) {
    return reinterpret_cast<Core*>(self)->Submit(request, events, ctx, out, error);
  };
  table.calls = &Operation::kCalls;
}

bool Service::Core::Begin() {
  active.fetch_add(1);
  if (!draining.load()) return true;
  End();
  return false;
}

void Service::Core::End() {
  if (active.fetch_sub(1) == 1 && draining.load()) {
    std::lock_guard lock(drain_mutex);
    drain_changed.notify_all();
  }
}

void Service::Core::Account(uint32_t op, const User* user, int backend, csb_status code,
                            std::string_view request_id, Timers::Clock::time_point started) {
  const std::chrono::duration<double> took = Timers::Clock::now() - started;
  metrics.Request(op, backend, code, took.count());
  const Kind kind = KindOf(op);
  const bool quiet = kind == Kind::kLocal || kind == Kind::kStatus ||
                     (op >= CSB_OP_FILE_READ && op <= CSB_OP_FILE_STAT && op != CSB_OP_FILE_WRITE &&
                      op != CSB_OP_FILE_DELETE);
  const int32_t level = quiet ? CSB_LOG_DEBUG : CSB_LOG_INFO;
  if (level < log_level) return;
  std::string line = "op=";
  line += NameOfOperation(op);
  if (user != nullptr) line += " user=" + user->name;
  if (backend >= 0) line += " backend=" + NameOf(backend);
  line += " status=";
  line += NameOfStatus(code);
  char ms[32];
  snprintf(ms, sizeof ms, " ms=%.1f", took.count() * 1000);
  line += ms;
  if (!request_id.empty()) {  // it is the client's
    line += " request=";
    for (char c : request_id.substr(0, 64))
      line +=
          (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.'
              ? c
              : '_';
  }
  Log(level, line);
}

csb_status Service::Core::Submit(const csb_request* request, const csb_events* events, void* ctx,
                                 csb_op** out, csb_error* error) {
  const auto started = Timers::Clock::now();
  if (request == nullptr || request->struct_size < sizeof(csb_request) || events == nullptr ||
      events->struct_size < sizeof(csb_events) || out == nullptr)
    return Error{CSB_E_INTERNAL, "submit: a struct is missing or from another version", "", false}.Fill(
        error);
  if (!Begin()) {
    Error e = ShuttingDown();
    e.code = CSB_E_UNAVAILABLE;
    return e.Fill(error);
  }
  const auto refuse = [&](const Error& e, int backend = Metrics::kNoBackend, const User* user = nullptr) {
    Account(request->op, user, backend, e.code, View(request->request_id), started);
    End();
    return e.Fill(error);
  };
  auto checked = Validate(request->op, View(request->payload), limits);
  if (!checked) return refuse(checked.error());
  const Kind kind = KindOf(request->op);
  const std::string_view user = View(request->user);
  if (kind == Kind::kRefused)
    return refuse(
        {CSB_E_UNSUPPORTED, "probe is for backends; ask the service for explain or health", "", false});
  if (kind != Kind::kLocal)
    if (auto s = CheckUserId(user); !s) return refuse(s.error());
  if (request->deadline_ns != 0 && request->deadline_ns <= NowNs())
    return refuse(
        {CSB_E_DEADLINE, "Execution timed out: the deadline had passed before it was started", "", true});

  const auto op =
      std::make_shared<Operation>(shared_from_this(), *request, *std::move(checked), *events, ctx);
  op->Hold();
  *out = op->handle();
  switch (kind) {
    case Kind::kSandbox:
      if (auto s = Enter(op, user); !s) {
        *out = nullptr;
        op->Unhold();
        return refuse(s.error(), op->backend, op->user.get());
      }
      break;
    case Kind::kControl:
      EnterQueue(op, user);
      break;
    case Kind::kStatus:
      op->user = LockUser(user).first;
      StartStatus(op);
      break;
    default:
      StartLocal(op);
      break;
  }
  return CSB_OK;
}

Service::Core::UserPtr Service::Core::GetUser(std::string_view id) {
  Shard& shard = shards[std::hash<std::string_view>()(id) % shards.size()];
  std::string key(id);
  std::lock_guard lock(shard.mutex);
  auto& user = shard.users[key];
  if (!user) user = std::make_shared<User>(std::move(key));
  return user;
}

std::pair<Service::Core::UserPtr, std::unique_lock<std::mutex>> Service::Core::LockUser(std::string_view id) {
  for (;;) {
    UserPtr user = GetUser(id);
    std::unique_lock lock(user->mutex);
    if (user->dead) continue;
    if (!user->loaded) LoadRecord(*user);
    return {std::move(user), std::move(lock)};
  }
}

void Service::Core::AddRunning(User& user, Operation& op) {
  op.running_index = user.running.size();
  user.running.push_back(&op);
}

void Service::Core::RemoveRunning(User& user, Operation& op) {
  Operation* last = user.running.back();
  user.running[op.running_index] = last;
  last->running_index = op.running_index;
  user.running.pop_back();
}

bool Service::Core::GoesOn(const User& user, const BackendState& b) {
  return b.own_channel.load(std::memory_order_relaxed) && user.spared != b.breaker.openings();
}

// The hot path: a live user's operation goes to the backend here and now.
Status Service::Core::Enter(const OpPtr& op, std::string_view id) {
  auto [user, lock] = LockUser(id);
  op->user = user;
  if (user->live && user->control == Control::kNone && user->queue.empty()) {
    const int backend = user->backend;
    BackendState& b = *backends[static_cast<size_t>(backend)];
    if (b.breaker.IsOpen() && !GoesOn(*user, b)) {
      op->backend = backend;
      return Unavailable(b.instance.name(), b.breaker.OpenReason().value_or("it just came back"));
    }
    // Another process that moves the user has a sandbox of its own there, which this must not get to.
    if (records.Moving(user->name)) return BeingMoved();
    op->Take();
    AddRunning(*user, *op);
    user->last_active = Timers::Clock::now();
    const uint64_t generation = user->generation;
    lock.unlock();
    const Status s = op->SubmitTo(backend, generation);
    if (s) return {};
    lock.lock();
    RemoveRunning(*user, *op);
    if (s.error().code != CSB_E_NO_SANDBOX) {
      lock.unlock();
      Report(backend, s.error().code, s.error().message, true);
      return s.error();
    }
    if (user->live && user->generation == generation) MarkAbsent(*user);
    lock.unlock();
    if (!op->PutBack()) return ShuttingDown();  // only a drain can have cancelled it, nobody else has it
    EnterQueue(op, id);
    return {};
  }
  lock.unlock();
  EnterQueue(op, id);
  return {};
}

void Service::Core::EnterQueue(const OpPtr& op, std::string_view id) {
  UserPtr user;
  {
    auto [found, lock] = LockUser(id);
    user = found;
    op->user = user;
    user->queue.push_back(op);
    op->ArmDeadline();
  }
  Pump(user);
}

void Service::Core::Unqueue(const OpPtr& op) {
  {
    std::lock_guard lock(drain_mutex);
    locals.erase(op);
  }
  if (!op->user) return;
  {
    std::lock_guard lock(op->user->mutex);
    auto& queue = op->user->queue;
    for (auto it = queue.begin(); it != queue.end(); ++it)
      if (*it == op) {
        queue.erase(it);
        break;
      }
  }
  // What stood behind it may go now.
  Pump(op->user);
}

void Service::Core::Pump(const UserPtr& user) {
  for (;;) {
    OpPtr op;  // freed after the lock is let go
    std::unique_lock lock(user->mutex);
    if (user->control != Control::kNone || user->queue.empty()) return;
    op = user->queue.front();
    if (op->ended()) {
      user->queue.pop_front();
      continue;
    }
    if (KindOf(op->op) == Kind::kControl) {
      user->queue.pop_front();
      user->control = Control::kResolving;
      lock.unlock();
      StartControl(user, op);
      continue;
    }
    if (!user->live) {
      user->control = Control::kResolving;
      lock.unlock();
      StartControl(user, nullptr);
      continue;
    }
    user->queue.pop_front();
    if (!op->Take()) continue;
    const int backend = user->backend;
    const uint64_t generation = user->generation;
    AddRunning(*user, *op);
    user->last_active = Timers::Clock::now();
    lock.unlock();
    const Status s = op->SubmitTo(backend, generation);
    if (s) continue;
    lock.lock();
    RemoveRunning(*user, *op);
    if (s.error().code == CSB_E_NO_SANDBOX && user->live && user->generation == generation) {
      MarkAbsent(*user);
      if (op->CanRetry() && op->PutBack()) {
        user->queue.push_front(op);
        continue;
      }
    }
    lock.unlock();
    Report(backend, s.error().code, s.error().message, true);
    op->Finish(Outcome::Of(s.error()));
  }
}

void Service::Core::MarkAbsent(User& user) {
  if (!user.live) return;
  user.live = false;
  ++user.generation;
  BackendState& b = *backends[static_cast<size_t>(user.backend)];
  b.live.fetch_sub(1);
  metrics.SandboxEnded(b.index, user.member);
  if (user.idle_timer != 0) timers.Cancel(std::exchange(user.idle_timer, 0));
  if (user.control == Control::kNone) ReleaseSlot(user);
}

bool Service::Core::OnBackendDone(const OpPtr& op, csb_outcome& outcome) {
  User& user = *op->user;
  const int backend = op->backend.load(std::memory_order_relaxed);
  static constexpr std::string_view kCancelled = "cancelled while the sandbox was made anew";
  {
    std::unique_lock lock(user.mutex);
    RemoveRunning(user, *op);
    user.last_active = Timers::Clock::now();
    const bool current = user.live && user.generation == op->generation;
    if (outcome.code == CSB_E_NO_SANDBOX) {
      if (current) MarkAbsent(user);
      if (op->CanRetry()) {
        if (op->PutBack()) {
          user.queue.push_front(op);
          op->ArmDeadline();
          lock.unlock();
          Pump(op->user);
          return false;
        }
        outcome.code = CSB_E_CANCELLED;
        outcome.retryable = 1;
        outcome.message = Str(kCancelled);
        outcome.hint = {};
      }
    } else if (outcome.code == CSB_E_GONE) {
      if (current) MarkAbsent(user);
    } else if (outcome.code == CSB_E_UNAVAILABLE) {
      // Its channel does not go on, either. A refusal at once costs nobody anything, and may soon be over.
      if (Timers::Clock::now() - op->started > options.breaker_patience)
        user.spared = backends[static_cast<size_t>(backend)]->breaker.openings();
    } else if (outcome.code == CSB_OK) {
      if (RunsCode(op->op)) ++user.execution_count;
      user.last_used_ms = WallMs();
      SaveSoon(op->user, false);
    }
  }
  Report(backend, outcome.code, View(outcome.message), true);
  if (RunsCode(op->op)) {
    if (outcome.code == CSB_E_GONE) {
      metrics.Ended("gone");
    } else if (outcome.code == CSB_OK) {
      const auto doc = json::ParseObject(View(outcome.result));
      metrics.Ended(doc ? json::GetString(*doc, "cause").value_or("other") : "other");
    }
  }
  return true;
}

}  // namespace csb::host
