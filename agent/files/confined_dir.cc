// SPDX-License-Identifier: Apache-2.0
#include "agent/files/confined_dir.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/files/task_io.h"

namespace csb::agent {
namespace {

constexpr int kFolderFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

int OpenBeneath(int root, const char* path) {
  open_how how{};
  how.flags = kFolderFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  while (true) {
    const long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
    // EAGAIN: something was renamed while the kernel looked; it asks to be called again.
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return fd >= 0 ? static_cast<int>(fd) : -errno;
  }
}

// openat2 would take a ".." that stays beneath; both ways shall agree.
bool IsClean(std::string_view path) {
  if (path.empty()) return true;
  const std::string bounded = "/" + std::string(path) + "/";
  return bounded.find("//") == std::string::npos && bounded.find("/../") == std::string::npos;
}

Error NotReached(int err, const std::string& path) {
  if (err == ELOOP || err == ENOTDIR || err == EXDEV)
    return {CSB_E_INVALID, ForMessage(path) + ": a link or a file stands where a folder is needed", "",
            false};
  return FromErrno(err, "open", path);
}

}  // namespace

ConfinedDir::ConfinedDir(Fd root, Confinement how) : root_(std::move(root)), openat2_(false) {
  if (how == Confinement::kWalk) return;
  // Asked once: a filter may answer EPERM, which later would look like a missing right.
  const int fd = OpenBeneath(root_.get(), ".");
  openat2_ = fd >= 0;
  if (fd >= 0) close(fd);
}

int ConfinedDir::Open(const std::string& path) const {
  if (!IsClean(path)) return -EXDEV;
  if (openat2_) return OpenBeneath(root_.get(), path.empty() ? "." : path.c_str());
  Fd at(openat(root_.get(), ".", kFolderFlags));
  if (!at) return -errno;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    Fd next(openat(at.get(), part.c_str(), kFolderFlags));
    if (!next) return -errno;
    at = std::move(next);
    begin = end + 1;
  }
  return at.Release();
}

Result<Fd> ConfinedDir::OpenFolder(const std::string& path) const {
  const int fd = Open(path);
  if (fd < 0) return NotReached(-fd, path);
  return Fd(fd);
}

Result<Fd> ConfinedDir::MakeFolder(const std::string& path, uint64_t* made) const {
  if (const int fd = Open(path); fd >= 0)
    return Fd(fd);
  else if (fd != -ENOENT)
    return NotReached(-fd, path);
  Fd at(openat(root_.get(), ".", kFolderFlags));
  if (!at) return FromErrno(errno, "open", path);
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    if (mkdirat(at.get(), part.c_str(), 0755) == 0) {
      if (made != nullptr) ++*made;
    } else if (errno != EEXIST) {
      return FromErrno(errno, "make the folder", path.substr(0, end));
    }
    Fd next(openat(at.get(), part.c_str(), kFolderFlags));
    if (!next) return NotReached(errno, path.substr(0, end));
    at = std::move(next);
    begin = end + 1;
  }
  return at;
}

}  // namespace csb::agent
