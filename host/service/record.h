// SPDX-License-Identifier: Apache-2.0
//
// record.h: what is kept of a user on disk: the backend that holds the files, and what no engine
// can hold (counts, last use). One small file a user, STATE_DIR/users/ENGINE_NAME.json.
//
//   RecordStore store("/var/lib/clara-sandbox", warn);
//   store.Save({.user = "alice", .backend = "bubblewrap", …});
//   std::optional<UserRecord> r = store.Load("alice");
//
// A file is replaced as a whole (written beside, fsynced, renamed, folder fsynced). Names are those
// of the engines (identity.h), so ids that differ in a byte never share a file. A file that cannot
// be understood, or is another user's, is moved aside to NAME.json.corrupt and logged: the engine's
// list is the truth then. Several host processes share the folder; the last writer wins, but for the
// placement (backend, moved_from, moving_to): that of the higher revision does.
// Load, Save, Update and Remove may block on the disk; they are thread-safe.
//
// While a user is moved (host/move) nobody else touches the sandbox: the mover holds STATE_DIR/moving/NAME
// locked, which other processes see, and which ends with the mover whatever becomes of it.
//
//   auto lock = store.LockMove("alice");   // CSB_E_CONFLICT: somebody moves her already
//   store.Moving(EngineName("alice"));     // true in every process until `lock` goes
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

struct UserRecord {
  std::string user;                          // exact id
  std::string backend;                       // that holds the files; empty: none does
  int64_t created_ms = 0, last_used_ms = 0;  // since the epoch, UTC; 0: unknown
  uint64_t execution_count = 0;
  bool destroyed = false;  // there is no sandbox, only files

  std::string moved_from;  // a backend with an old copy of the files, which is never served
  std::string moving_to;   // a backend with a copy that is not whole: a move is under way, or was cut off
  uint64_t revision = 0;   // of the placement; rises with the wall clock, so that none comes twice
};

// A move under way; gone with the object.
class MoveLock {
 public:
  MoveLock(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  MoveLock(MoveLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  MoveLock& operator=(MoveLock&&) = delete;
  ~MoveLock();

 private:
  int fd_;
  std::string path_;
};

class RecordStore {
 public:
  // state_dir empty: nothing is kept. warn gets a line for what went wrong but is survived.
  RecordStore(std::string state_dir, std::function<void(std::string)> warn);

  std::optional<UserRecord> Load(std::string_view user) const;
  // Makes the folder on first use. Errors: CSB_E_IO, CSB_E_NO_SPACE, with file and errno.
  Status Save(const UserRecord& record) const;
  // A record whose placement is of a higher revision stays.
  Status Remove(std::string_view user, uint64_t revision = UINT64_MAX) const;
  // Reads, changes (a user without a record has an empty one) and writes it as a new placement, while no
  // other process writes.
  Status Update(std::string_view user, const std::function<void(UserRecord&)>& change) const;

  Result<MoveLock> LockMove(std::string_view user) const;
  // name: EngineName of the user. One system call unless there is a move: for the way of every request.
  bool Moving(std::string_view name) const;

  std::string PathOf(std::string_view user) const;

 private:
  Status Write(const UserRecord& record) const;

  std::string folder_;  // …/users, or empty
  std::string moving_;  // …/moving, or empty
  std::function<void(std::string)> warn_;
};

}  // namespace csb::host
