// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugins/common/errno_error.h"

namespace csb {

Result<FileLock> FileLock::Take(const std::string& path, std::vector<std::string> what) {
  for (;;) {
    UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return ErrnoError("open", path);
    while (flock(fd.get(), LOCK_EX) != 0)
      if (errno != EINTR) return ErrnoError("flock", path);
    // The one who had it before us removed the file: then ours is not the one others will lock.
    struct stat mine {
    }, current{};
    if (fstat(fd.get(), &mine) != 0) return ErrnoError("fstat", path);
    if (stat(path.c_str(), &current) == 0 && mine.st_ino == current.st_ino && mine.st_dev == current.st_dev)
      return FileLock(std::move(fd), path, std::move(what));
  }
}

// Whoever waits finds the file gone and takes a new one.
FileLock::~FileLock() {
  if (!fd_) return;
  for (const std::string& each : what_)
    if (access(each.c_str(), F_OK) == 0) return;
  unlink(path_.c_str());
}

}  // namespace csb
