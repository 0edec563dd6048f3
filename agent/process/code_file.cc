// SPDX-License-Identifier: Apache-2.0
#include "agent/process/code_file.h"

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
  name_ = name;
  if (as_user.failed()) return EPERM;
  if (mkdtemp(folder.data()) == nullptr) return errno;
  folder_ = folder;
  path_ = folder_ + "/" + name;
  dir_.Reset(open(folder_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir_) return errno;
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
