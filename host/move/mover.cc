// SPDX-License-Identifier: Apache-2.0
#include "host/move/mover.h"

#include <algorithm>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "host/selection/selection.h"

namespace csb::host {
namespace {

Error Invalid(std::string message, std::string hint = "") {
  return {CSB_E_INVALID, std::move(message), std::move(hint), false};
}
Error Conflict(std::string message, std::string hint) {
  return {CSB_E_CONFLICT, std::move(message), std::move(hint), false};
}

}  // namespace

Mover::Mover(RecordStore& records, std::vector<BackendInstance*> backends, Timers& timers,
             MoveOptions options, std::function<void(const std::string&)> say)
    : records_(records),
      backends_(std::move(backends)),
      timers_(timers),
      options_(std::move(options)),
      say_(std::move(say)) {}

BackendInstance* Mover::Find(std::string_view name) const {
  for (BackendInstance* b : backends_)
    if (b->name() == name) return b;
  return nullptr;
}

// ---- what is where ----

// A copy that an earlier move did not finish.
Status Mover::RemoveLeftover(const std::string& user, UserRecord* record) {
  if (record->moving_to.empty()) return {};
  const std::string name = record->moving_to;
  const Error stuck = {CSB_E_UNAVAILABLE, "", "`clara-sandbox move USER --forget` leaves it behind for good",
                       true};
  const auto fail = [&](const std::string& why) {
    Error error = stuck;
    error.message =
        "a move to backend " + name + " was cut off, and what it left there cannot be removed: " + why;
    return error;
  };
  BackendInstance* backend = Find(name);
  if (backend == nullptr) return fail("it is not loaded");
  say_("removing what a move that was cut off left on " + name);
  if (auto s = At(*backend, user).Purge(); !s) return fail(s.error().message);
  record->moving_to.clear();
  return records_.Update(user, [](UserRecord& r) { r.moving_to.clear(); });
}

// The record says; for a user without one, or whom its backend does not know, the engines do.
Result<std::string> Mover::FindSource(const std::string& user, const UserRecord& record,
                                      const std::string& to) {
  if (!record.backend.empty()) {
    BackendInstance* home = Find(record.backend);
    if (home == nullptr) return record.backend;
    auto state = At(*home, user).Look();
    if (!state || *state != Endpoint::State::kNone) return record.backend;
  }
  std::vector<std::string> found, silent;
  for (BackendInstance* backend : backends_) {
    if (backend->name() == record.backend || backend->name() == record.moved_from) continue;
    auto state = At(*backend, user).Look();
    if (!state)
      silent.push_back(backend->name());
    else if (*state != Endpoint::State::kNone)
      found.push_back(backend->name());
  }
  if (found.size() == 1 && (found[0] != to || record.backend.empty())) return found[0];
  if (found.size() > 1)
    return Conflict("files of this user are on " + found[0] + " and on " + found[1],
                    "the record does not say which are the user's; destroy one of them with purge");
  if (!record.backend.empty()) return record.backend;
  std::string message = "no backend has files of this user";
  if (!silent.empty()) message += "; no answer from " + silent[0];
  return Invalid(message, "a user without files goes where sandbox.mode and sandbox.order say");
}

Status Mover::CheckUsable(BackendInstance& backend, bool target) {
  Endpoint endpoint = At(backend, "");
  auto answer = endpoint.Do(CSB_OP_PROBE, "{}", std::chrono::seconds(30));
  if (!answer) return answer.error();
  SelectionInput input;
  input.candidates.push_back({backend.name(), ParseProbe(*answer), std::nullopt});
  input.requested = backend.name();
  input.choices = {"all"};
  if (target) input.required = options_.required;
  const Selection s = Select(input);
  if (s.chosen) return {};
  return Error{CSB_E_UNAVAILABLE, "backend " + backend.name() + " cannot be used: " + s.verdicts.at(0).reason,
               s.verdicts.at(0).hint, true};
}

Status Mover::MakeRoom(Endpoint& target) {
  auto state = target.Look();
  if (!state) return state.error();
  if (*state == Endpoint::State::kNone) return {};
  if (!options_.overwrite)
    return Conflict("backend " + target.name() + " has files of this user already",
                    "look at them first; --overwrite purges them");
  say_("purging what " + target.name() + " has of this user");
  return target.Purge();
}

// ---- the commands ----

Result<Moved> Mover::Move(const std::string& user, const std::string& to) {
  BackendInstance* const there = Find(to);
  if (there == nullptr)
    return Invalid("backend " + to + " is not loaded", "`clara-sandbox explain` lists the backends");
  auto lock = records_.LockMove(user);
  if (!lock) return lock.error();
  UserRecord record = records_.Load(user).value_or(UserRecord{.user = user});
  if (auto s = RemoveLeftover(user, &record); !s) return s.error();
  if (record.backend == to) return Invalid("the user's files are on " + to + " already");
  if (!record.moved_from.empty())
    return Conflict("an old copy of the user's files is on " + record.moved_from,
                    "`clara-sandbox move USER --confirm` purges it, `--undo` serves it again");
  auto from = FindSource(user, record, to);
  if (!from) return from.error();
  if (*from == to) return Invalid("the user's files are on " + to + " already");
  Endpoint target = At(*there, user);
  if (auto s = CheckUsable(*there, true); !s) return s.error();

  BackendInstance* const here = Find(*from);
  if (options_.without_files) {
    if (here != nullptr && At(*here, user).Look())
      return Invalid("backend " + *from + " answers, so that the files can be carried over",
                     "leave --without-files out");
    return Repoint(user, *from, target);
  }
  const std::string gone =
      "if it is gone for good, `clara-sandbox move USER --to " + to +
      " --without-files` gives the user an EMPTY workspace there; the files stay where they are";
  if (here == nullptr)
    return Error{CSB_E_UNAVAILABLE, "the user's files are on backend " + *from + ", which is not loaded",
                 "install and enable its plugin; " + gone, true};
  if (auto s = CheckUsable(*here, false); !s) {
    Error error = s.error();
    error.message = "the user's files are there: " + error.message;
    error.hint += (error.hint.empty() ? "" : "; ") + gone;
    return error;
  }
  Endpoint source = At(*here, user);
  auto state = source.Look();
  if (!state) return state.error();
  if (*state == Endpoint::State::kNone)
    return Invalid("backend " + *from + " has no files of this user",
                   "a user without files goes where sandbox.mode and sandbox.order say");
  if (*state == Endpoint::State::kRunning && !options_.stop)
    return Conflict("the user's sandbox is running on " + *from,
                    "--stop ends it, and every command that runs in it; or wait until it is idle");
  if (auto s = MakeRoom(target); !s) return s.error();
  // Also for hosts that believe in a sandbox that runs: they look again, and see that the user is moved.
  if (auto s = source.Stop(); !s) return s.error();
  return Carry(user, source, target);
}

// Nothing is copied; the backend with the files does not answer.
Result<Moved> Mover::Repoint(const std::string& user, const std::string& from, Endpoint& target) {
  if (auto s = MakeRoom(target); !s) return s.error();
  auto s = records_.Update(user, [&](UserRecord& r) {
    r.backend = target.name();
    r.moved_from = from;
    r.destroyed = false;
  });
  if (!s) return s.error();
  return Moved{.from = from, .to = target.name()};
}

Result<std::string> Mover::Confirm(const std::string& user) {
  auto lock = records_.LockMove(user);
  if (!lock) return lock.error();
  UserRecord record = records_.Load(user).value_or(UserRecord{.user = user});
  if (auto s = RemoveLeftover(user, &record); !s) return s.error();
  const std::string old = record.moved_from;
  if (old.empty()) return Invalid("no old copy of this user's files is kept");
  BackendInstance* const home = Find(record.backend);
  if (home == nullptr)
    return Error{CSB_E_UNAVAILABLE, "backend " + record.backend + ", which has the files now, is not loaded",
                 "the old copy stays until they can be seen", true};
  auto state = At(*home, user).Look();
  if (!state) return state.error();
  if (*state == Endpoint::State::kNone)
    return Conflict(
        "backend " + record.backend + " has no files of this user: the old copy may be the only one",
        "`--undo` serves it again; a destroy with purge removes everything");
  BackendInstance* const backend = Find(old);
  const std::string hint = "`clara-sandbox move USER --forget` leaves it behind for good";
  if (backend == nullptr)
    return Error{CSB_E_UNAVAILABLE, "backend " + old + ", which has the old copy, is not loaded", hint, true};
  if (auto s = At(*backend, user).Purge(); !s) {
    Error error = s.error();
    error.hint += (error.hint.empty() ? "" : "; ") + hint;
    return error;
  }
  if (auto s = records_.Update(user, [](UserRecord& r) { r.moved_from.clear(); }); !s) return s.error();
  return old;
}

Result<Moved> Mover::Undo(const std::string& user) {
  auto lock = records_.LockMove(user);
  if (!lock) return lock.error();
  UserRecord record = records_.Load(user).value_or(UserRecord{.user = user});
  if (auto s = RemoveLeftover(user, &record); !s) return s.error();
  if (record.moved_from.empty()) return Invalid("no old copy of this user's files is kept");
  BackendInstance* const old = Find(record.moved_from);
  if (old == nullptr)
    return Error{CSB_E_UNAVAILABLE, "backend " + record.moved_from + " is not loaded", "", true};
  auto state = At(*old, user).Look();
  if (!state) return state.error();
  if (*state == Endpoint::State::kNone)
    return Conflict("backend " + record.moved_from + " has no files of this user any more", "");
  if (BackendInstance* const now = Find(record.backend)) {
    Endpoint endpoint = At(*now, user);
    auto running = endpoint.Look();
    if (running && *running == Endpoint::State::kRunning) {
      if (!options_.stop)
        return Conflict("the user's sandbox is running on " + record.backend,
                        "--stop ends it, and every command that runs in it; or wait until it is idle");
      if (auto s = endpoint.Stop(); !s) return s.error();
    }
  }
  auto s = records_.Update(user, [](UserRecord& r) {
    std::swap(r.backend, r.moved_from);
    r.destroyed = false;
  });
  if (!s) return s.error();
  return Moved{.from = record.backend, .to = record.moved_from};
}

Result<std::string> Mover::Forget(const std::string& user) {
  auto lock = records_.LockMove(user);
  if (!lock) return lock.error();
  const auto record = records_.Load(user);
  if (!record || (record->moved_from.empty() && record->moving_to.empty()))
    return Invalid("no old copy of this user's files is kept");
  auto s = records_.Update(user, [](UserRecord& r) {
    r.moved_from.clear();
    r.moving_to.clear();
  });
  if (!s) return s.error();
  return record->moved_from.empty() ? record->moving_to : record->moved_from;
}

}  // namespace csb::host
