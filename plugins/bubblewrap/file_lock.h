// SPDX-License-Identifier: Apache-2.0
//
// file_lock.h: one worker at a time on a user's sandbox, across host processes (flock(2)).
//
//   auto lock = FileLock::Take(paths.lock);     // waits for the other host process
//   if (!lock) return lock.error();
//
// The file stays until Remove, which the holder calls when the user is purged; a holder that dies lets
// go. Blocks; not for the reactor's thread.
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/unique_fd.h"

namespace csb::bwrap {

class FileLock {
 public:
  static Result<FileLock> Take(const std::string& path);
  FileLock(FileLock&&) = default;
  FileLock& operator=(FileLock&&) = default;
  // Others that wait for it take a new file then.
  void Remove() const;

 private:
  FileLock(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string path_;
};

}  // namespace csb::bwrap
