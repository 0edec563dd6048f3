// SPDX-License-Identifier: Apache-2.0
//
// mover.h: takes a user with all files from one backend to another, beside hosts that go on serving.
//
//   Mover mover(records, {docker, bubblewrap}, timers, {.stop = true}, say);
//   auto moved = mover.Move("alice", "docker");     // blocks; mover.Stop() from another thread ends it early
//   if (!moved) return moved.error();               // alice is where she was, and nothing is left elsewhere
//   …
//   mover.Confirm("alice");                         // purges the old copy
//
// The order, so that nothing is lost wherever it ends:
//
//   lock           no other host touches the user's sandbox from here on (record.h, MoveLock)
//   moving_to      noted in the record, once the target is known to be empty: what lies there is no copy yet
//   copy           scan → pieces → place, and again; every piece is read back from the target and compared by
//                  SHA-256
//   compare        the source is scanned once more: nothing may have changed; the target must be the same
//   tree backend        of the record becomes the target, moved_from the source: the moment of the move stop
//   both sandboxes
//
// Whatever fails before that moment: the target's copy is purged, the record is as before. A mover that is
// killed leaves `moving_to`: hosts never serve that copy, and the next move removes it.
//
// Carried over: folders, files with their bytes, permissions, times, holes and hard links; symbolic links;
// FIFOs. Not: sockets, extended attributes, owners (all is the sandbox user's), and limits asked for at
// create.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/move/endpoint.h"
#include "host/service/record.h"

namespace csb::host {

struct MoveOptions {
  bool stop = false;                  // end the user's sandbox where it runs
  bool overwrite = false;             // purge what the target holds of the user
  bool without_files = false;         // the source is gone: an empty workspace
  std::vector<std::string> required;  // sandbox.require
  std::chrono::milliseconds create_limit{60'000};
  int in_flight = 3;  // pieces; each takes two of the backends' workers
};

struct Moved {
  std::string from, to;
  uint64_t entries = 0, files = 0, bytes = 0, skipped = 0;
  std::vector<std::string> notes;  // what did not work but does not matter
};

class Mover {
 public:
  // All outlive it. say: what is being done, a line each; from the caller's thread.
  Mover(RecordStore& records, std::vector<BackendInstance*> backends, Timers& timers, MoveOptions options,
        std::function<void(const std::string&)> say);

  // CSB_E_INVALID: there is nothing to move so; CSB_E_CONFLICT: something is in the way, the hint says what
  // to do; else what failed, on which backend.
  Result<Moved> Move(const std::string& user, const std::string& to);
  // Purges the old copy; the backend that had it.
  Result<std::string> Confirm(const std::string& user);
  // Serves the old copy again, and keeps the other as the old one.
  Result<Moved> Undo(const std::string& user);
  // Leaves old copies where they are, and forgets that they are none of the user's.
  Result<std::string> Forget(const std::string& user);

  void Stop() { stopper_.Stop(); }  // [any]

 private:
  struct Progress;
  BackendInstance* Find(std::string_view name) const;
  Endpoint At(BackendInstance& backend, const std::string& user) {
    return {backend, timers_, user, stopper_};
  }
  Result<std::string> FindSource(const std::string& user, const UserRecord& record, const std::string& to);
  Status RemoveLeftover(const std::string& user, UserRecord* record);
  Status CheckUsable(BackendInstance& backend, bool target);
  Status MakeRoom(Endpoint& target);
  Result<Moved> Repoint(const std::string& user, const std::string& from, Endpoint& target);
  Result<Moved> Carry(const std::string& user, Endpoint& source, Endpoint& target);
  Status Copy(const std::string& user, Endpoint& source, Endpoint& target, Moved* moved, bool* begun);
  Status CopyPart(Endpoint& source, Endpoint& target, Progress* progress, std::string* lines, Moved* moved);
  Status CopyPieces(Endpoint& source, Endpoint& target, const std::vector<Piece>& pieces);
  Status Compare(Endpoint& endpoint, const Progress& expected, bool times);
  Result<std::string> Create(Endpoint& endpoint);

  RecordStore& records_;
  const std::vector<BackendInstance*> backends_;
  Timers& timers_;
  const MoveOptions options_;
  const std::function<void(const std::string&)> say_;
  Stopper stopper_;
};

}  // namespace csb::host
