// SPDX-License-Identifier: Apache-2.0
//
// What becomes of a user's files when their member is evacuated: with the user's next sandbox they go to
// another member, while theirs still answers. At any moment the record names the member whose copy counts:
//
//   one host at a time moves them: a profile of the move's name is made once, as the record is
//   what still holds the files is ended, and they are copied to where no record says that they are
//   the record is moved on; only then is the old copy deleted, which the record names until it is gone
#include "clara_sandbox/cpp/identity.h"
#include "plugins/common/rfc3339.h"
#include "plugins/incus/limits.h"
#include "plugins/incus/registry.h"
#include "plugins/incus/registry_turns.h"

namespace csb::incus {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kAbout[] = "clara-sandbox: a user's files are being moved to another member";
constexpr char kBegun[] = "user.clara-sandbox.created";
// Somebody waits for the answer.
constexpr std::chrono::seconds kWait{30};
// By the clocks of two hosts; beyond all that one may wait for the engine.
constexpr std::chrono::minutes kMoverDead{30};

}  // namespace

// Until no host moves them.
Status Registry::AwaitMove(const std::string& key) {
  const std::string name = names_.Move(key);
  const auto until = Clock::now() + kWait;
  do {
    const uint64_t seen = engine_.Happened();
    auto move = engine_.Profile(name, kAskLimit);
    if (!move && move.error().code == CSB_E_NOT_FOUND) return {};
    if (!move) return move.error();
    // A host of this machine would hold the user's lock, which is ours.
    const std::string begun = ValueOf(move->config, kBegun);
    if (ValueOf(move->config, kKeyMachine) == machine_ || !ParseRfc3339(begun) ||
        OlderThan(begun, kMoverDead))
      return engine_.DeleteProfile(name, kAskLimit);
    engine_.AwaitEvent(seen, kLook);
  } while (Clock::now() < until);
  return Error{CSB_E_UNAVAILABLE, "another host moves the user's files to another member of the cluster",
               "try again when they are there", true};
}

Status Registry::BeginMove(const std::string& key) {
  for (int turn = 0;; ++turn) {
    if (Status s = AwaitMove(key); !s) return s;
    const Status begun = engine_.CreateProfile(names_.Move(key), kAbout,
                                               {{kKeyInstallation, names_.installation()},
                                                {kKeyKind, "move"},
                                                {kKeyHost, host_id_},
                                                {kKeyMachine, machine_},
                                                {kBegun, Rfc3339Now()}},
                                               kAskLimit);
    if (begun || begun.error().code != CSB_E_CONFLICT || turn == kTurns) return begun;
  }
}

Status Registry::FollowEvacuation(const std::string& key, Record& record, const Conversation& talk) {
  if (record.member.empty() || !cluster_.Evacuated(record.member)) return {};
  auto place = cluster_.Place(record.limits, "");
  if (!place) return place.error();
  const std::string& to = place->member();
  talk.progress("the member " + record.member + " is evacuated: the files move to " + to);
  if (Status s = BeginMove(key); !s) return s;
  Status moved = MoveFiles(key, record, to);
  const Status over = engine_.DeleteProfile(names_.Move(key), kAskLimit);
  if (!over) host_.LogWarn("a move of files is over, and can't be marked so: " + over.error().message);
  return moved;
}

// With the move begun.
Status Registry::MoveFiles(const std::string& key, Record& record, const std::string& to) {
  const std::string from = record.member;
  auto now = records_.Read(key);
  if (!now) return now.error();
  record = *now;
  if (record.member != from || from == to) return {};
  auto volume = engine_.Volume(record.pool, record.volume, from, kAskLimit);
  if (!volume) return volume.error();
  for (const std::string& used : volume->used_by) {
    const std::string name = InstanceOf(used);
    if (!names_.IsOurs(name))
      return Error{
          CSB_E_UNAVAILABLE,
          "the files can't leave the member " + from + ": " + used + " uses the volume " + volume->name,
          "incus storage volume show " + record.pool + " " + volume->name, false};
    if (Status s = launcher_.Remove(name); !s) return s;
  }
  host_.LogInfo("the files of " + record.volume + " move from " + from + " to " + to);
  // The engine would keep none of it, nor tell whose the copy is.
  Config config = volume->config;
  std::erase_if(config, [](const auto& entry) { return entry.first.starts_with("volatile."); });
  const auto copy = [&] {
    return engine_.CopyVolume(record.pool, record.volume, "clara-sandbox: a user's files", config, from, to,
                              kMoveLimit);
  };
  Status copied = copy();
  if (!copied && copied.error().code == CSB_E_CONFLICT) {
    // Of a move that was cut off, or of a member that was evacuated before: not what the record names.
    if (Status s = engine_.DeleteVolume(record.pool, record.volume, to, kChangeLimit); !s) return s;
    copied = copy();
  }
  if (!copied) return copied;
  for (int turn = 0;; ++turn) {
    record.member = to;
    record.left = from;
    Status told = records_.Replace(key, record);
    now = records_.Read(key);
    if (!now && now.error().code != CSB_E_NOT_FOUND) return now.error();
    if (now && now->member == to) break;  // that it took too long to answer is no matter
    if (now && !told && told.error().code == CSB_E_CONFLICT && now->member == from && turn < kTurns) {
      record = *now;  // another host has ended or changed something meanwhile
      continue;
    }
    const Status gone = engine_.DeleteVolume(record.pool, record.volume, to, kChangeLimit);
    if (!gone) host_.LogWarn(gone.error().message);
    if (told) told = Error{CSB_E_CONFLICT, "another host ended the sandbox while its files moved", "", true};
    return told;
  }
  record = *now;
  const Status gone = engine_.DeleteVolume(record.pool, record.volume, from, kChangeLimit);
  if (!gone) {
    host_.LogWarn("the old copy of the files stays for now: " + gone.error().message);
    return {};
  }
  Record clean = record;
  clean.left.clear();
  if (Status s = records_.Replace(key, clean); !s) host_.LogDebug(s.error().message);
  now = records_.Read(key);
  if (!now) return now.error();
  record = *now;
  return {};
}

}  // namespace csb::incus
