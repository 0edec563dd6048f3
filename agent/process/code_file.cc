// SPDX-License-Identifier: Apache-2.0
#include "agent/process/code_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace csb::agent {

AsUserOnDisk::AsUserOnDisk(const Identity& identity) : separate_(identity.separate) {
  if (!separate_) return;
  setfsgid(identity.gid);
  setfsuid(identity.uid);
  // It has no way to fail but to do nothing, as in gVisor. Signals and traces go by the real and the saved
  // uid, which stay.
  by_effective_ = static_cast<uid_t>(setfsuid(static_cast<uid_t>(-1))) != identity.uid;
  if (by_effective_ && (setegid(identity.gid) != 0 || seteuid(identity.uid) != 0)) failed_ = true;
}

AsUserOnDisk::~AsUserOnDisk() {
  if (!separate_) return;
  // The way back is always open to the saved uid; to go on as the user would be a fault of the kernel.
  if (by_effective_ && (seteuid(getuid()) != 0 || setegid(getgid()) != 0)) abort();
  setfsuid(geteuid());
  setfsgid(getegid());
}

int CodeFile::Create(const Identity& identity, const std::string& name, std::string_view text) {
  const int error = CreateIn(identity.tmp + "/clara-XXXXXX", identity, name, text);
  if (error != ENOSPC && error != EDQUOT) return error;
  // Filled up by earlier code: what comes next must still be able to clear it.
  Remove();
  return CreateIn(identity.workspace + "/.clara-XXXXXX", identity, name, text) == 0 ? 0 : error;
}

int CodeFile::CreateIn(std::string folder, const Identity& identity, const std::string& name,
                       std::string_view text) {
  const AsUserOnDisk as_user(identity);
  identity_ = &identity;
  if (as_user.failed()) return EPERM;
  if (mkdtemp(folder.data()) == nullptr) return errno;
  folder_ = folder;
  dir_.Reset(open(folder_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir_) return errno;
  return Write(name, text);
}

int CodeFile::Write(const std::string& name, std::string_view text) {
  name_ = name;
  path_ = folder_ + "/" + name;
  const Fd file(openat(dir_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return errno;
  while (!text.empty()) {
    const ssize_t n = write(file.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

int CodeFile::Replace(const std::string& name, std::string_view text) {
  if (folder_.empty()) return ENOENT;
  const AsUserOnDisk as_user(*identity_);
  if (as_user.failed()) return EPERM;
  if (unlinkat(dir_.get(), name_.c_str(), 0) < 0 && errno != ENOENT) return errno;
  return Write(name, text);
}

bool CodeFile::Clear() {
  if (folder_.empty()) return false;
  const AsUserOnDisk as_user(*identity_);
  if (as_user.failed()) return false;
  unlinkat(dir_.get(), name_.c_str(), 0);
  // Still the folder of that path, and empty?
  struct stat made, found;
  if (fstat(dir_.get(), &made) < 0 || stat(folder_.c_str(), &found) < 0 || made.st_ino != found.st_ino ||
      made.st_dev != found.st_dev)
    return false;
  const int fd = openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* dir = fd < 0 ? nullptr : fdopendir(fd);
  if (dir == nullptr) {
    if (fd >= 0) close(fd);
    return false;
  }
  bool empty = true;
  while (const dirent* entry = readdir(dir))
    empty = empty && (std::string_view(entry->d_name) == "." || std::string_view(entry->d_name) == "..");
  closedir(dir);
  return empty;
}

void CodeFile::Remove() {
  if (folder_.empty()) return;
  const AsUserOnDisk as_user(*identity_);
  // Relative to the folder that was made: user code may have put a link in its place.
  if (dir_) unlinkat(dir_.get(), name_.c_str(), 0);
  rmdir(folder_.c_str());
  dir_.Reset();
  folder_.clear();
}

}  // namespace csb::agent
