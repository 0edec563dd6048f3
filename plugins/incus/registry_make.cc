// SPDX-License-Identifier: Apache-2.0
//
// How a user's sandbox is made: claimed from the pool, or anew on the member that has the files.
#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/rfc3339.h"
#include "plugins/incus/registry.h"
#include "plugins/incus/registry_turns.h"

namespace csb::incus {

Result<Record> Registry::NewRecord(const std::string& user, const std::string& key, const Limits& limits,
                                   const std::string& image, const std::string& member) {
  auto pool = launcher_.Storage();
  if (!pool) return pool.error();
  const uint64_t first = FirstGeneration();
  return Record{.user = user,
                .instance = names_.Instance(key, first),
                .generation = first,
                .pool = pool->name,
                .volume = names_.Volume(key),
                .member = member,
                .created_at = Rfc3339Now(),
                .image = image,
                .limits = limits,
                .etag = {}};
}

// The workspace, where it is missing; one of that name that was there already is the user's own, from a time
// whose record was lost.
Status Registry::EnsureVolume(const std::string& key, Record& record, bool* made) {
  Config config = {{kKeyInstallation, names_.installation()},
                   {kKeyKind, "workspace"},
                   {kKeyUser, record.user},
                   {"security.shifted", "true"}};  // owners inside stay what they are, whatever its map
  if (record.limits.disk > 0) config["size"] = std::to_string(record.limits.disk);
  const Status created = engine_.CreateVolume(record.pool, record.volume, "clara-sandbox: a user's files",
                                              config, record.member, kChangeLimit);
  if (made != nullptr) *made = created.ok();
  if (created || created.error().code != CSB_E_CONFLICT) return created;
  auto has = engine_.Volume(record.pool, record.volume, "", kAskLimit);
  if (!has) return has.error();
  const auto owner = has->config.find(kKeyUser);
  const bool pooled = names_.IsPooled(record.volume);
  if (!pooled && (owner == has->config.end() || owner->second != record.user))
    return Error{CSB_E_CONFLICT, "the volume " + record.volume + " belongs to somebody else",
                 "incus storage volume show " + record.pool + " " + record.volume + " tells to whom", false};
  if (record.member.empty() || has->location.empty() || has->location == record.member) return {};
  record.member = has->location;
  return records_.Replace(key, record);
}

// One turn at it; CSB_E_CONFLICT: another host does the same, and is to be looked at again.
Result<std::shared_ptr<Sandbox>> Registry::MakeOnce(const std::string& user, const std::string& key,
                                                    const Limits& limits, const std::string& image,
                                                    const Conversation& talk) {
  auto record = records_.Read(key);
  if (!record && record.error().code != CSB_E_NOT_FOUND) return record.error();
  bool fresh = false, made_volume = false;
  Cluster::Making making;
  if (!record) {
    auto claimed = ClaimLocked(user, key, limits, image);
    if (!claimed || *claimed != nullptr) return claimed;
    pool_.MakeRoom();
    auto place = cluster_.Place(limits, "");
    if (!place) return place.error();
    making = *std::move(place);
    record = NewRecord(user, key, limits, image, making.member());
    if (!record) return record.error();
    if (Status s = records_.Create(key, *record); !s) return s.error();
    fresh = true;
  } else {
    pool_.MakeRoom();
    if (const auto down = cluster_.Down(record->member)) return *down;
    if (!(record->limits == limits) || record->image != image) {
      record->limits = limits;
      record->image = image;
      if (Status s = records_.Replace(key, *record); !s) return s.error();
      record = records_.Read(key);
      if (!record) return record.error();
    }
    if (Status s = FollowEvacuation(key, *record, talk); !s) return s.error();
    auto place = cluster_.Place(limits, record->member);
    if (!place) return place.error();
    making = *std::move(place);
  }
  const auto give_up = [&](const Error& error) {
    if (!fresh) return error;
    // Nothing of a failed first create stays behind; with files of an earlier time the record does.
    Status gone;
    if (made_volume) gone = engine_.DeleteVolume(record->pool, record->volume, record->member, kChangeLimit);
    if (gone && made_volume) gone = records_.Remove(key);
    if (!gone) host_.LogWarn(gone.error().message);
    return error;
  };
  if (fresh)
    if (Status s = EnsureVolume(key, *record, &made_volume); !s) {
      // Never one that names what is not this user's: a purge would remove it.
      if (Status gone = records_.Remove(key); !gone) host_.LogWarn(gone.error().message);
      return s.error();
    }
  const Launcher::Wanted wanted{.instance = record->instance,
                                .user = user,
                                .image = image,
                                .pool = record->pool,
                                .volume = record->volume,
                                .member = record->member,
                                .limits = limits,
                                .kind = "sandbox"};
  auto sandbox = launcher_.Launch(wanted, talk, LostHandler());
  if (!sandbox && !fresh && sandbox.error().message.find("torage volume not found") != std::string::npos) {
    // Deleted by hand: an empty workspace then.
    if (Status s = EnsureVolume(key, *record, nullptr); !s) return s.error();
    sandbox = launcher_.Launch(wanted, talk, LostHandler());
  }
  if (!sandbox && sandbox.error().code == CSB_E_CONFLICT) return sandbox.error();
  if (!sandbox && sandbox.error().message.find("member is evacuated") != std::string::npos) {
    // Since the members were last looked at: the next turn has the files elsewhere first.
    cluster_.LookAgain();
    return give_up({CSB_E_CONFLICT, sandbox.error().message, sandbox.error().hint, true});
  }
  // Another host may have ended, before it was there, what we were making.
  auto now = records_.Read(key);
  if (now ? now->instance != record->instance : now.error().code == CSB_E_NOT_FOUND) {
    if (sandbox) {
      (*sandbox)->Detach();
      if (Status s = launcher_.Remove(record->instance); !s) host_.LogWarn(s.error().message);
    }
    return Error{CSB_E_CONFLICT, "another host ended the sandbox while it was made", "try again", true};
  }
  making.End(sandbox.ok());
  if (!sandbox) {
    cluster_.Note(record->member, sandbox.error());
    return give_up(sandbox.error());
  }
  return sandbox;
}

Result<std::shared_ptr<Sandbox>> Registry::MakeLocked(const std::string& user, const std::string& key,
                                                      const Limits& limits, const std::string& image,
                                                      const Conversation& talk) {
  for (int turn = 0;; ++turn) {
    auto made = MakeOnce(user, key, limits, image, talk);
    if (made) {
      Keep(*made);
      RefillLater();
      return made;
    }
    if (made.error().code != CSB_E_CONFLICT || turn == kTurns) return made;
    auto attached = AttachLocked(user, key);
    if (!attached || *attached != nullptr) return attached;
  }
}

// Null: the pool had none that could be used. CSB_E_CONFLICT: the user has a record.
Result<std::shared_ptr<Sandbox>> Registry::ClaimLocked(const std::string& user, const std::string& key,
                                                       const Limits& limits, const std::string& image) {
  auto pooled = pool_.Take(limits, image);
  if (pooled == nullptr) return SandboxPtr();
  const Record record{.user = user,
                      .instance = pooled->instance,
                      .generation = FirstGeneration(),
                      .pool = pooled->storage,
                      .volume = pooled->volume,
                      .member = pooled->sandbox->live().member,
                      .created_at = Rfc3339Now(),
                      .image = image,
                      .limits = limits,
                      .etag = {}};
  const Status done = records_.Create(key, record);
  if (done) {
    pooled->sandbox->Claim(user, pooled->instance, LostHandler());
    Keep(pooled->sandbox);
    // For people who look at the engine; the record is what counts.
    InBackground([user, instance = pooled->instance](Registry& registry) {
      const Status told =
          registry.engine_.PatchInstance(instance, {{kKeyUser, user}, {kKeyKind, "sandbox"}}, "", kAskLimit);
      if (!told) registry.host_.LogDebug(told.error().message);
    });
    RefillLater();
    return pooled->sandbox;
  }
  if (done.error().code == CSB_E_CONFLICT) {
    pool_.PutBack(std::move(pooled));
    return done.error();
  }
  // The record may be there all the same: then it says whose it is, and what it names is not ours to remove.
  auto now = records_.Read(key);
  if (now ? now->instance != pooled->instance : now.error().code == CSB_E_NOT_FOUND) pool_.Discard(*pooled);
  return done.error();
}

}  // namespace csb::incus
