// SPDX-License-Identifier: Apache-2.0
//
// Records are written by one worker at a time: at once when a sandbox is made or ended, a few
// seconds later when only counts have changed.
#include <algorithm>
#include <utility>

#include "host/service/core.h"

namespace csb::host {

void Service::Core::LoadRecord(User& user) {
  const bool first = !std::exchange(user.loaded, true);
  const auto record = records.Load(user.id);
  if (!record) return;
  if (record->revision > user.revision) {
    if (!first && record->backend != user.pin)
      Log(CSB_LOG_INFO, "user " + user.name + " was moved to backend " + record->backend);
    if (user.live && record->backend != NameOf(user.backend)) MarkAbsent(user);
    user.revision = record->revision;
    user.pin = record->backend;
    user.moved_from = record->moved_from;
    user.moving_to = record->moving_to;
    // Older lists tell of what was before the move.
    if (!first) user.listed.clear();
  } else if (user.pin.empty()) {
    user.pin = record->backend;
  }
  if (!first) return;
  user.created_ms = record->created_ms;
  user.last_used_ms = record->last_used_ms;
  user.execution_count = record->execution_count;
  user.destroyed = record->destroyed;
}

bool Service::Core::WasDestroyed(User& user) {
  if (!user.destroyed || user.dirty || user.saving) return user.destroyed;
  // Another host process may have made one since.
  if (const auto record = records.Load(user.id)) user.destroyed = record->destroyed;
  return user.destroyed;
}

void Service::Core::SaveSoon(const UserPtr& user, bool now) {
  if (user->dirty && !now) return;
  std::lock_guard lock(records_mutex);
  if (!std::exchange(user->dirty, true)) unsaved.push_back(user);
  if (now) {
    if (std::exchange(writing, true)) return;
    if (!workers.Post([core = shared_from_this()] { core->WriteRecords(); })) writing = false;
  } else if (flush_timer == 0 && !draining.load()) {
    flush_timer = timers.At(Timers::Clock::now() + options.record_flush, [weak = weak_from_this()] {
      const auto core = weak.lock();
      if (!core) return;
      std::lock_guard lock(core->records_mutex);
      core->flush_timer = 0;
      if (std::exchange(core->writing, true)) return;
      if (!core->workers.Post([core] { core->WriteRecords(); })) core->writing = false;
    });
  }
}

void Service::Core::WriteRecords() {
  for (;;) {
    std::vector<UserPtr> batch;
    {
      std::lock_guard lock(records_mutex);
      batch = std::exchange(unsaved, {});
      if (batch.empty()) {
        writing = false;
        records_idle.notify_all();
        return;
      }
    }
    for (const UserPtr& user : batch) {
      UserRecord record;
      {
        std::lock_guard lock(user->mutex);
        user->dirty = false;
        user->saving = true;
        record = {
            user->id,        user->pin,        user->created_ms, user->last_used_ms, user->execution_count,
            user->destroyed, user->moved_from, user->moving_to,  user->revision};
      }
      const Status s =
          record.backend.empty() ? records.Remove(record.user, record.revision) : records.Save(record);
      {
        std::lock_guard lock(user->mutex);
        user->saving = false;
        user->kept = s.ok();
      }
      if (!s) Log(CSB_LOG_WARN, "the record of user " + user->name + " was not kept: " + s.error().message);
      MaybeForget(user);
    }
  }
}

// A user without anything in memory that is not on disk is not kept in memory, so that ids that
// were only asked for cost nothing for long.
void Service::Core::MaybeForget(const UserPtr& user) {
  Shard& shard = shards[std::hash<std::string_view>()(user->id) % shards.size()];
  std::lock_guard shard_lock(shard.mutex);
  std::lock_guard lock(user->mutex);
  if (user->dead || !user->Blank() || (options.state_dir.empty() && !user->pin.empty())) return;
  // What a list told of a user is nowhere else unless the record says the same.
  const auto told_else = [&](int backend) { return NameOf(backend) != user->pin; };
  if (!user->listed.empty() && (options.state_dir.empty() || user->created_ms == 0 ||
                                std::any_of(user->listed.begin(), user->listed.end(), told_else)))
    return;
  // A list under way may tell of a sandbox that has ended since.
  if (user->generation > 0 && Listing()) return;
  user->dead = true;
  shard.users.erase(user->id);
}

void Service::Core::ForEachUser(const std::function<void(const UserPtr&)>& fn) {
  for (Shard& shard : shards) {
    std::vector<UserPtr> users;
    {
      std::lock_guard lock(shard.mutex);
      for (const auto& entry : shard.users) users.push_back(entry.second);
    }
    for (const auto& user : users) fn(user);
  }
}

}  // namespace csb::host
