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
// list is the truth then. Several host processes share the folder; the last writer wins.
// Load, Save and Remove may block on the disk; they are thread-safe for different users.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

struct UserRecord {
  std::string user;                          // exact id
  std::string backend;                       // that holds the files; empty: none does
  int64_t created_ms = 0, last_used_ms = 0;  // since the epoch, UTC; 0: unknown
  uint64_t execution_count = 0;
  bool destroyed = false;  // there is no sandbox, only files
};

class RecordStore {
 public:
  // state_dir empty: nothing is kept. warn gets a line for what went wrong but is survived.
  RecordStore(std::string state_dir, std::function<void(std::string)> warn);

  std::optional<UserRecord> Load(std::string_view user) const;
  // Makes the folder on first use. Errors: CSB_E_IO, CSB_E_NO_SPACE, with file and errno.
  Status Save(const UserRecord& record) const;
  Status Remove(std::string_view user) const;

  std::string PathOf(std::string_view user) const;

 private:
  std::string folder_;  // …/users, or empty
  std::function<void(std::string)> warn_;
};

}  // namespace csb::host
