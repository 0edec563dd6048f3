// SPDX-License-Identifier: Apache-2.0
//
// file_lock.h: one worker at a time on a user's sandbox, across host processes (flock(2)).
//
//   auto lock = FileLock::Take(paths.lock, {paths.live(), paths.data});  // waits for the other host process
//   if (!lock) return lock.error();
//
// The file goes with the lock when nothing is left that it locks, so that neither a purge nor a request that
// was refused leaves one behind; else it stays, which saves each holder making it. A holder that dies lets
// go. Blocks; not for the reactor's thread.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/unique_fd.h"

namespace csb {

class FileLock {
 public:
  // what: as long as one of these exists, the file stays.
  static Result<FileLock> Take(const std::string& path, std::vector<std::string> what);
  FileLock(FileLock&&) = default;
  FileLock& operator=(FileLock&&) = default;
  ~FileLock();

 private:
  FileLock(UniqueFd fd, std::string path, std::vector<std::string> what)
      : fd_(std::move(fd)), path_(std::move(path)), what_(std::move(what)) {}
  UniqueFd fd_;
  std::string path_;
  std::vector<std::string> what_;
};

}  // namespace csb
