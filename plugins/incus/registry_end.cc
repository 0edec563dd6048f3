// SPDX-License-Identifier: Apache-2.0
//
// How a user's sandbox ends, and the files with it if that is asked for.
#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/host_sockets.h"
#include "plugins/common/small_file.h"
#include "plugins/incus/inside.h"
#include "plugins/incus/registry.h"
#include "plugins/incus/registry_turns.h"

namespace csb::incus {
namespace {

// An operation of somebody's holds it: it is looked at again.
bool Busy(const Error& error) {
  return error.code == CSB_E_CONFLICT || error.message.find("busy running") != std::string::npos;
}

}  // namespace

// True: one was alive.
Result<bool> Registry::StopLocked(const std::string& user, const std::string& key) {
  bool alive = false;
  const auto attached = Find(user);
  if (attached) {
    alive = !attached->over();
    Forget(attached);
    attached->Detach();
  }
  for (int turn = 0;; ++turn) {
    auto record = records_.Read(key);
    if (!record && record.error().code == CSB_E_NOT_FOUND) return alive;
    if (!record) return record.error();
    if (const auto down = cluster_.Down(record->member)) return *down;
    const bool ours = attached && attached->live().name == record->instance;
    if (!ours || !attached->Kill()) {
      auto info = engine_.Instance(record->instance, kAskLimit);
      if (!info && info.error().code == CSB_E_NOT_FOUND) return alive;
      if (!info) return info.error();
      if (info->Get(kKeyInstallation) != names_.installation()) return NotOurs(info->name);
      if (info->status == "Error")
        return Error{CSB_E_UNAVAILABLE, "the member " + info->location + " of the cluster does not answer",
                     "incus cluster list tells why", true};
      alive = alive || info->alive();
      if (info->alive()) {
        const Status stopped = engine_.ChangeState(record->instance, "stop", true, kChangeLimit);
        if (!stopped && stopped.error().code != CSB_E_NOT_FOUND && !Busy(stopped.error()))
          return stopped.error();
      }
    }
    const Status retired = Retire(key, *record);
    if (retired) return alive;
    if (retired.error().code != CSB_E_CONFLICT || turn == kTurns) return retired.error();
  }
}

// Host processes that are connected: their sockets, and the bridges inside. One that can't be told is.
bool Registry::UsedByOthers(const std::string& user, const SandboxPtr& attached) {
  auto record = RecordOf(user);
  if (!record) return record.error().code != CSB_E_NOT_FOUND;
  if (cluster_.Down(record->member)) return true;
  auto bridges = CountBridges(engine_, record->instance);
  if (!bridges) return bridges.error().code != CSB_E_NOT_FOUND;
  int hosts = *bridges;
  if (const std::string control = names_.Control(names_.SlotOf(record->instance)); Exists(control))
    hosts += HostsAt(control);
  return hosts > (attached ? 1 : 0);
}

Result<Registry::StopResult> Registry::Stop(const std::string& user, bool if_unused) {
  const std::string key = KeyOf(user);
  auto lock = Lock(key);
  if (!lock) return lock.error();
  if (if_unused) {
    const auto attached = Find(user);
    if (UsedByOthers(user, attached)) {
      if (attached) {
        Forget(attached);
        attached->Detach();
      }
      return StopResult::kLeft;
    }
  }
  auto stopped = StopLocked(user, key);
  if (!stopped) return stopped.error();
  return *stopped ? StopResult::kStopped : StopResult::kNothing;
}

// What still holds it are instances that are on their way out.
Status Registry::RemoveVolume(const Record& record) {
  for (int turn = 0;; ++turn) {
    const Status gone = engine_.DeleteVolume(record.pool, record.volume, record.member, kChangeLimit);
    if (gone || turn == kTurns) return gone;
    auto volume = engine_.Volume(record.pool, record.volume, record.member, kAskLimit);
    if (!volume) return volume.error().code == CSB_E_NOT_FOUND ? Status() : gone;
    bool waited = volume->used_by.empty();  // what held it has gone meanwhile
    for (const std::string& used : volume->used_by) {
      const std::string name = InstanceOf(used);
      if (!names_.IsOurs(name)) continue;
      if (Status s = launcher_.Remove(name); !s && !Busy(s.error())) return s;
      waited = true;
    }
    if (!waited) return gone;
  }
}

Result<Registry::Destroyed> Registry::Destroy(const std::string& user, bool purge) {
  const std::string key = KeyOf(user);
  Destroyed out;
  auto lock = Lock(key);
  if (!lock) return lock.error();
  for (int turn = 0;; ++turn) {
    auto record = records_.Read(key);
    if (!record && record.error().code == CSB_E_NOT_FOUND) {
      // Another host was faster, and the stream may not have told yet: the next create must not get it.
      if (Find(user) != nullptr)
        if (auto stopped = StopLocked(user, key); !stopped) return stopped.error();
      return out;
    }
    if (!record) return record.error();
    auto stopped = StopLocked(user, key);
    if (!stopped) return stopped.error();
    out.existed = true;
    out.files_remain = !purge;
    if (!purge) return out;
    if (!record->member.empty())
      if (Status s = AwaitMove(key); !s) return s.error();
    record = records_.Read(key);
    if (!record && record.error().code == CSB_E_NOT_FOUND) return out;
    if (!record) return record.error();
    if (Status s = RemoveVolume(*record); !s) return s.error();
    if (!record->left.empty())  // by a move
      if (Status s = engine_.DeleteVolume(record->pool, record->volume, record->left, kChangeLimit); !s)
        return s.error();
    // Another host may have made one anew meanwhile, with files that somebody was told of.
    auto made = engine_.Instance(record->instance, kAskLimit);
    auto now = records_.Read(key);
    if (!now && now.error().code == CSB_E_NOT_FOUND) return out;
    if (!now) return now.error();
    if ((made || now->etag != record->etag) && turn < kTurns) continue;
    // Last: until then it says where files are.
    if (Status s = records_.Remove(key); !s) return s.error();
    const std::lock_guard guard(mutex_);
    last_member_.erase(user);
    return out;
  }
}

}  // namespace csb::incus
