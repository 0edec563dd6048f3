// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/registry.h"

#include <algorithm>

#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/installation.h"
#include "plugins/common/limit_text.h"
#include "plugins/common/rfc3339.h"
#include "plugins/common/small_file.h"
#include "plugins/incus/registry_turns.h"

namespace csb::incus {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Time for `incus restart` by hand to start again what it stopped.
constexpr std::chrono::seconds kCleanDelay{10};
// After the last create: the user's first call, and a burst of other users, come before the pool.
constexpr milliseconds kRefillDelay{500};
// What another host is making, and has not started.
constexpr milliseconds kMakingLimit{30'000};
// From the record of a start to its end.
constexpr milliseconds kStartingLimit{3'000};
// A member that is doubted for one sandbox's sake alone is believed again before that.
constexpr milliseconds kDoubted = Members::kMostHold + milliseconds(4'000);
// One whose network is back hangs in exec for 13 s (docs/scale.md), and for one more attempt.
constexpr milliseconds kMute = kDoubted + milliseconds(20'000);
// Between two attempts: longer says nothing of what was in between.
constexpr milliseconds kMuteForgotten{60'000};
// No host makes it any more; by the engine's clock and ours.
constexpr std::chrono::minutes kMadeByNobody{5};

// Somebody's doing, and no fault of the engine: users of other sandboxes are not to be kept away for it.
Error Paused(const std::string& instance) {
  return {CSB_E_CONFLICT, "the instance " + instance + " is frozen",
          "incus resume " + instance + "; what runs in it goes on then", true};
}

bool NeverStarted(const InstanceInfo& info) {
  return !info.alive() && info.Get("volatile.last_state.power").empty();
}

// To the engine it is stopped as long as its start is not through, though that is recorded. Or its server
// went down with it.
bool MayBeStarting(const InstanceInfo& info) {
  return !info.alive() && info.Get("volatile.last_state.power") == "RUNNING";
}

}  // namespace

Registry::Registry(HostRef host, Reactor& reactor, Engine& engine, const Options& options, const Names& names,
                   const std::string& host_id, const std::string& machine)
    : host_(host),
      reactor_(reactor),
      engine_(engine),
      options_(options),
      names_(names),
      host_id_(host_id),
      machine_(machine),
      records_(engine, names),
      line_(std::make_shared<Lifeline<Registry>>(this)),
      cluster_(host, reactor, engine, options, names,
               [line = line_](const std::string& member) {
                 line->With([&](Registry& registry) { registry.NudgeThoseOn(member); });
               }),
      launcher_(host, reactor, engine, options, names, host_id, machine),
      pool_(host, launcher_, engine, cluster_, options, names, host_id) {
  pool_.SetLostHandler([line = line_](const SandboxPtr&, Loss) {
    line->With([](Registry& registry) { registry.InBackground([](Registry& r) { r.pool_.Check(); }); });
  });
}

Registry::~Registry() {
  line_->Close();
  pool_.Stop();
  line_->Cut();
  lost_.DetachAll();
  for (const auto& [user, sandbox] : by_user_) sandbox->Detach();
}

Result<FileLock> Registry::Lock(std::string_view key) const {
  if (Status s = MakeFolders(names_.locks(), 0711); !s) return s.error();
  return FileLock::Take(names_.Lock(key), {});
}

std::shared_ptr<Sandbox> Registry::Find(std::string_view user) const {
  const std::lock_guard lock(mutex_);
  const auto it = by_user_.find(user);
  return it == by_user_.end() ? nullptr : it->second;
}

std::vector<std::shared_ptr<Sandbox>> Registry::Attached() const {
  const std::lock_guard lock(mutex_);
  std::vector<SandboxPtr> out;
  for (const auto& [user, sandbox] : by_user_) out.push_back(sandbox);
  return out;
}

std::shared_ptr<Sandbox> Registry::AttachedAs(std::string_view instance) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [user, sandbox] : by_user_)
    if (sandbox->live().name == instance) return sandbox;
  return nullptr;
}

void Registry::Keep(const SandboxPtr& sandbox) {
  const std::lock_guard lock(mutex_);
  // It may have ended between the answer and now; Lost then found nothing to forget.
  if (!sandbox->over()) by_user_[sandbox->live().user] = sandbox;
  mute_.erase(sandbox->live().name);
  if (!sandbox->live().member.empty()) last_member_[sandbox->live().user] = sandbox->live().member;
}

void Registry::Forget(const SandboxPtr& sandbox) {
  const std::lock_guard lock(mutex_);
  const auto it = by_user_.find(sandbox->live().user);
  if (it != by_user_.end() && it->second == sandbox) by_user_.erase(it);
}

void Registry::InBackground(std::function<void(Registry&)> work) {
  const Status posted = host_.Post([line = line_, work = std::move(work)] { line->With(work); });
  // A host that shuts down takes no work; what is not cleaned up now is by the next host.
  if (!posted) host_.LogDebug("no work is taken any more: " + posted.error().message);
}

void Registry::RemoveLater(const std::string& instance) {
  InBackground([instance](Registry& registry) {
    if (Status s = registry.launcher_.Remove(instance); !s)
      registry.host_.LogWarn("the instance " + instance +
                             " stays until the next start: " + s.error().message);
    registry.RefillLater();  // there may be room again
  });
}

Sandbox::OnLost Registry::LostHandler() {
  return [line = line_](const SandboxPtr& sandbox, Loss loss) {
    line->With([&](Registry& registry) { registry.Lost(sandbox, loss); });
  };
}

// What stands may go on: it may be the engine that is mute, or its database, and not the member.
void Registry::NudgeThoseOn(const std::string& member) {
  for (const SandboxPtr& sandbox : Attached())
    if (sandbox->live().member == member)
      if (const auto channel = sandbox->channel()) channel->Nudge();
}

// On the reactor's thread.
void Registry::Lost(const SandboxPtr& sandbox, Loss loss) {
  Forget(sandbox);
  const std::string user = sandbox->live().user, instance = sandbox->live().name;
  if (user.empty()) return;  // still being made
  const std::string member = sandbox->live().member;
  // All that is on a member which is cut off falls silent; the first who notices tells the others.
  if (sandbox->FellSilent()) cluster_.Suspect(member, "a sandbox on it is not heard of any more");
  InBackground([lost = lost_.Add(sandbox), user, instance, loss](Registry& registry) {
    const SandboxPtr sandbox = registry.lost_.Take(lost);
    if (!sandbox) return;
    const bool oom = sandbox->SawOom();
    sandbox->Detach();
    const std::string key = KeyOf(user);
    auto lock = registry.Lock(key);
    if (!lock) return registry.host_.LogWarn(lock.error().message);
    auto record = registry.records_.Read(key);
    if (!record ? record.error().code == CSB_E_NOT_FOUND : record->instance != instance)
      return registry.launcher_.RemoveSlot(instance);  // another host has ended it
    if (!record) return;
    if (loss == Loss::kBroken) {
      if (Status s = registry.Retire(key, *record); !s) registry.host_.LogWarn(s.error().message);
      return;
    }
    // A stream says no more than that it ended. One that goes on, or is about to end, is the next call's.
    if (!oom) return registry.CleanLater(user);
    registry.host_.LogWarn("sandbox " + instance + " ran out of memory as a whole (" +
                           FormatSize(record->limits.memory) + "): it is started again");
    if (Status s = registry.Retire(key, *record); !s) return registry.host_.LogWarn(s.error().message);
    auto again = registry.MakeLocked(user, key, record->limits, record->image, {});
    if (!again)
      registry.host_.LogWarn("sandbox " + instance + " can't be started again: " + again.error().message);
  });
}

void Registry::RefillLater() {
  if (!pool_.wanted()) return;
  const std::lock_guard lock(mutex_);
  if (refill_ != 0) reactor_.CancelTimer(refill_);
  refill_ = reactor_.At(Reactor::Clock::now() + kRefillDelay, [line = line_] {
    line->With([](Registry& registry) { registry.InBackground([](Registry& r) { r.pool_.Check(); }); });
  });
}

void Registry::CleanLater(const std::string& user) {
  reactor_.At(Reactor::Clock::now() + kCleanDelay, [line = line_, user] {
    line->With(
        [&](Registry& registry) { registry.InBackground([user](Registry& r) { r.CleanDead(user); }); });
  });
}

void Registry::CleanUnheldLater(const std::string& instance) {
  reactor_.At(Reactor::Clock::now() + kCleanDelay, [line = line_, instance] {
    line->With([&](Registry& registry) {
      registry.InBackground([instance](Registry& r) {
        const auto info = r.engine_.Instance(instance, kAskLimit);
        if (!info || info->Get(kKeyInstallation) != r.names_.installation()) return;
        const std::string user = info->Get(kKeyUser);
        if (const auto record = r.records_.Read(KeyOf(user)); record && record->instance == instance)
          r.CleanDead(user);
      });
    });
  });
}

void Registry::CleanDead(const std::string& user) {
  const std::string key = KeyOf(user);
  auto lock = Lock(key);
  if (!lock) return host_.LogWarn(lock.error().message);
  auto record = records_.Read(key);
  if (!record || cluster_.Down(record->member)) return;
  auto info = engine_.Instance(record->instance, kAskLimit);
  // Status "Error": its member does not answer.
  if (!info || info->alive() || NeverStarted(*info) || info->status != "Stopped") return;
  if (MayBeStarting(*info) && info->Get(kKeyMachine) != machine_ && !OlderThan(info->created, kMadeByNobody))
    return;
  if (auto attached = Find(user)) {
    Forget(attached);
    attached->Detach();
  }
  if (Status s = Retire(key, *record); !s) host_.LogDebug(s.error().message);
}

// The next sandbox of the user gets another name, so that it need not wait until this one is gone.
// CSB_E_CONFLICT: another host was faster.
Status Registry::Retire(const std::string& key, const Record& record) {
  Record next = record;
  ++next.generation;
  next.instance = names_.Instance(key, next.generation);
  if (Status s = records_.Replace(key, next); !s) {
    if (s.error().code == CSB_E_CONFLICT) return s;
    // A member that does not answer holds up the answer, not the change.
    auto now = records_.Read(key);
    if (!now || now->instance != next.instance) return s;
  }
  RemoveLater(record.instance);
  return {};
}

void Registry::OnLifecycle(const std::string& action, const std::string& instance) {
  if (action.starts_with("image-")) return RefillLater();  // our name may mean another one now
  const bool ended =
      action == "instance-stopped" || action == "instance-shutdown" || action == "instance-deleted";
  // One that is deleted without having been stopped never ran: the launcher itself removes it, to make it
  // again with another address, and this may be heard only then.
  if (ended && action != "instance-deleted") launcher_.NoteEnd(instance);
  const auto sandbox = AttachedAs(instance);
  if (!sandbox) {
    // Of a user whose host is gone, perhaps a moment after the sweep has seen it alive.
    if (ended && action != "instance-deleted" && names_.IsOurs(instance)) CleanUnheldLater(instance);
    return;
  }
  if (ended)
    sandbox->MarkEnded(action == "instance-deleted" ? "the instance was deleted" : "the instance ended");
  if (action == "instance-paused") sandbox->SetPaused(true);
  if (action == "instance-resumed") sandbox->SetPaused(false);
}

void Registry::Compare() {
  // First, so that what is made meanwhile is not missed in the list.
  const auto attached = Attached();
  if (attached.empty()) return;
  auto instances = engine_.Instances(kKeyInstallation, names_.installation(), kAskLimit);
  if (!instances) return;
  for (const SandboxPtr& sandbox : attached) {
    const std::string& name = sandbox->live().name;
    const auto it = std::find_if(instances->begin(), instances->end(),
                                 [&](const InstanceInfo& info) { return info.name == name; });
    if (it != instances->end() && it->status == "Running" && !sandbox->paused()) continue;
    // The list may be older than an event that came since.
    auto now = engine_.Instance(name, kAskLimit);
    if (!now && now.error().code == CSB_E_NOT_FOUND)
      sandbox->MarkEnded("the instance was deleted");
    else if (now && !now->alive() && now->status == "Stopped")
      sandbox->MarkEnded("the instance ended");
    else if (now)
      sandbox->SetPaused(now->status == "Frozen");
  }
}

void Registry::LetGoOfStreams() {
  for (const SandboxPtr& sandbox : Attached()) {
    if (sandbox->live().channel != ChannelKind::kExec) continue;
    Forget(sandbox);
    sandbox->Detach();
  }
}

Result<bool> Registry::AwaitMade(const InstanceInfo& info) {
  // Of this machine: whoever made it held the lock that we hold, and has died or given up.
  if (info.Get(kKeyMachine) == machine_) return false;
  if (NeverStarted(info) && OlderThan(info.created, kMadeByNobody)) return false;
  const auto until = Clock::now() + kMakingLimit;
  std::optional<Clock::time_point> starting;
  while (Clock::now() < until) {
    const uint64_t seen = engine_.Happened();
    auto now = engine_.Instance(info.name, kAskLimit);
    if (!now && now.error().code == CSB_E_NOT_FOUND) return false;
    if (!now) return now.error();
    if (MayBeStarting(*now)) {
      if (!starting) starting = Clock::now();
      if (Clock::now() - *starting > kStartingLimit) return true;
    } else if (!NeverStarted(*now)) {
      return true;
    }
    engine_.AwaitEvent(seen, kLook);
  }
  return Error{CSB_E_UNAVAILABLE,
               "the instance " + info.name + " is being made by another host, which does not end",
               "try again; one that no host makes any more is given up after five minutes", true};
}

bool Registry::MuteForLong(const std::string& instance) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  std::erase_if(mute_, [&](const auto& entry) { return now - entry.second.last > kMuteForgotten; });
  Mute& mute = mute_.try_emplace(instance, Mute{now, now}).first->second;
  mute.last = now;
  return now - mute.first > kMute;
}

std::optional<Error> Registry::DownFor(const Record& record) {
  auto down = cluster_.Down(record.member);
  if (!down) return down;
  // Not just doubted for the sandbox's sake: then it may well be the member that was mute.
  const auto since = cluster_.SilentSince(record.member);
  if (!since || Clock::now() - *since <= kDoubted) return down;
  const std::lock_guard lock(mutex_);
  mute_.erase(record.instance);
  return down;
}

// Null: there is none, and the record, where there is one, names the next.
Result<std::shared_ptr<Sandbox>> Registry::AttachTo(const Record& record, const std::string& key) {
  if (auto down = DownFor(record)) return *std::move(down);
  auto info = engine_.Instance(record.instance, kAskLimit);
  if (info && info->Get(kKeyInstallation) != names_.installation()) return NotOurs(info->name);
  if (info && (NeverStarted(*info) || MayBeStarting(*info))) {
    auto there = AwaitMade(*info);
    if (!there) return there.error();
    info = engine_.Instance(record.instance, kAskLimit);
    if (info && NeverStarted(*info)) {
      if (Status s = Retire(key, record); !s && s.error().code != CSB_E_CONFLICT) return s.error();
      return SandboxPtr();
    }
  }
  if (!info && info.error().code == CSB_E_NOT_FOUND) return SandboxPtr();
  if (!info) {
    cluster_.Note(record.member, info.error());
    return info.error();
  }
  if (info->status == "Error") {
    cluster_.Suspect(info->location, "the cluster says so");
    return Error{CSB_E_UNAVAILABLE, "the member " + info->location + " of the cluster does not answer",
                 "incus cluster list tells why; its sandboxes are there again when it is", true};
  }
  if (!info->alive()) {
    if (Status s = Retire(key, record); !s && s.error().code != CSB_E_CONFLICT) return s.error();
    return SandboxPtr();
  }
  if (info->status == "Frozen") return Paused(info->name);
  const auto begun = Clock::now();
  auto sandbox = launcher_.Attach(*info, record.user, record.limits, LostHandler());
  // One that its maker has only just started may refuse the first.
  if (!sandbox && Clock::now() - begun < kLook)
    sandbox = launcher_.Attach(*info, record.user, record.limits, LostHandler());
  if (sandbox) {
    Keep(*sandbox);
    return sandbox;
  }
  auto now = engine_.Instance(record.instance, kAskLimit);
  if (!now && now.error().code == CSB_E_NOT_FOUND) return SandboxPtr();
  if (!now) return sandbox.error();
  if (now->status == "Frozen") return Paused(now->name);
  if (now->alive() && sandbox.error().code == CSB_E_UNAVAILABLE && !record.member.empty() &&
      !MuteForLong(record.instance)) {
    // Whether the member or the sandbox is mute is not known yet.
    cluster_.Suspect(record.member, sandbox.error().message);
    return sandbox.error();
  }
  // Alive and mute: nobody can use it, and it holds the workspace.
  if (now->alive()) host_.LogWarn("sandbox " + record.instance + " is ended: " + sandbox.error().message);
  if (Status s = Retire(key, record); !s && s.error().code != CSB_E_CONFLICT) return s.error();
  return SandboxPtr();
}

Result<std::shared_ptr<Sandbox>> Registry::AttachLocked(const std::string& user, const std::string& key) {
  if (auto attached = Find(user)) {
    if (attached->channel()) return attached;
    // Kept: what runs in it is answered once it goes on.
    if (attached->paused() && !attached->over()) {
      auto now = engine_.Instance(attached->live().name, kAskLimit);
      if (!now && now.error().code != CSB_E_NOT_FOUND) return now.error();
      if (now && now->status == "Frozen") return Paused(attached->live().name);
      attached->SetPaused(false);  // an event was missed
      if (attached->channel()) return attached;
    }
    Forget(attached);
    attached->Detach();
  }
  auto record = records_.Read(key);
  if (!record && record.error().code == CSB_E_NOT_FOUND) return SandboxPtr();
  if (!record) {
    // The member that is silent may be the one that led the database.
    std::string member;
    {
      const std::lock_guard lock(mutex_);
      if (const auto last = last_member_.find(user); last != last_member_.end()) member = last->second;
    }
    if (const auto down = cluster_.Down(member)) return *down;
    return record.error();
  }
  return AttachTo(*record, key);
}

Result<std::shared_ptr<Sandbox>> Registry::Attach(const std::string& user) {
  const std::string key = KeyOf(user);
  auto lock = Lock(key);
  if (!lock) return lock.error();
  auto sandbox = AttachLocked(user, key);
  if (sandbox && *sandbox == nullptr)
    return Error{CSB_E_NO_SANDBOX, "no live sandbox of this user", "create one first", false};
  return sandbox;
}

Result<std::string> Registry::AllowedImage(const json::Value& payload) const {
  const auto asked = json::GetString(payload, "image");
  if (!asked || *asked == options_.image) return options_.image;
  const std::string image(*asked);
  for (const std::string& allowed : options_.more_images)
    if (allowed == image || allowed == "*") return image;
  return Error{CSB_E_INVALID, "image: " + image + " is not offered here",
               "leave it out, or have the operator add it to incus.images", false};
}

Result<std::shared_ptr<Sandbox>> Registry::Create(const std::string& user, const json::Value& payload,
                                                  const Conversation& talk) {
  auto asked = ReadRequestedLimits(payload);
  if (!asked) return asked.error();
  auto image = AllowedImage(payload);
  if (!image) return image.error();
  Limits limits = options_.limits;
  limits.memory = asked->memory.value_or(limits.memory);
  limits.cpu = asked->cpu.value_or(limits.cpu);

  const std::string key = KeyOf(user);
  const Pool::Busy busy(pool_);
  auto lock = Lock(key);
  if (!lock) return lock.error();
  // Whether the user is new is told by the claim itself: his record can be made once.
  if (Find(user) == nullptr) {
    auto claimed = ClaimLocked(user, key, limits, *image);
    if (claimed ? *claimed != nullptr : claimed.error().code != CSB_E_CONFLICT) return claimed;
  }
  auto attached = AttachLocked(user, key);
  if (!attached) return attached.error();
  if (*attached == nullptr) return MakeLocked(user, key, limits, *image, talk);
  const Live& has = (*attached)->live();
  const auto conflict = [&](const char* member, const std::string& value) {
    return Error{CSB_E_CONFLICT, std::string(member) + ": the live sandbox has " + value,
                 "destroy the sandbox first (its files are kept), or leave it out", false};
  };
  if (asked->memory && has.limits.memory != limits.memory)
    return conflict("memory_limit", FormatSize(has.limits.memory));
  if (asked->cpu && has.limits.cpu != limits.cpu) return conflict("cpu_limit", FormatCores(has.limits.cpu));
  if (json::GetString(payload, "image"))
    if (auto record = records_.Read(key); record && record->image != *image)
      return conflict("image", record->image);
  return attached;
}

Result<std::shared_ptr<Sandbox>> Registry::Restart(const std::string& user, const Conversation& talk) {
  const std::string key = KeyOf(user);
  const Pool::Busy busy(pool_);
  auto lock = Lock(key);
  if (!lock) return lock.error();
  auto record = RecordOf(user);
  if (!record) return record.error();
  if (auto stopped = StopLocked(user, key); !stopped) return stopped.error();
  return MakeLocked(user, key, record->limits, record->image, talk);
}

Result<Record> Registry::RecordOf(const std::string& user) const {
  auto record = records_.Read(KeyOf(user));
  if (!record && record.error().code == CSB_E_NOT_FOUND)
    return Error{CSB_E_NOT_FOUND, "this user has no sandbox", "create one first", false};
  return record;
}

}  // namespace csb::incus
