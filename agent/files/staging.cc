// SPDX-License-Identifier: Apache-2.0
#include "agent/files/staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>

#include "agent/files/member_name.h"
#include "agent/files/paths.h"
#include "agent/files/remove_tree.h"
#include "agent/files/task_io.h"

namespace csb::agent {
namespace {

constexpr RemoveOptions kAll{.recursive = true, .force_rights = true};

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

Result<Fd> Reopened(int folder, const std::string& shown) {
  Fd fd(openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FromErrno(errno, "open", shown);
  return fd;
}

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

}  // namespace

Staging::Staging(Fd folder, Fd dir, std::string name)
    : folder_(std::move(folder)), dir_(std::move(dir)), name_(std::move(name)) {}
Staging::Staging(Staging&& other) noexcept
    : folder_(std::move(other.folder_)), dir_(std::move(other.dir_)), name_(std::exchange(other.name_, "")) {}
Staging::~Staging() {
  // What stays here has lost its lock, so that the next unzip into this folder removes it.
  if (auto removed = Remove(); !removed) dir_.Reset();
}

Status Staging::Remove() {
  if (name_.empty()) return {};
  return RemoveAt(folder_.get(), std::exchange(name_, ""), kAll, "a temporary folder");
}

Result<Staging> Staging::In(const Fd& folder, const std::string& shown) {
  auto own = Reopened(folder.get(), shown);
  if (!own) return own.error();
  // A cleaner may take the new folder before it is locked; then it is gone, and another is made.
  for (int tries = 0; tries < 5; ++tries) {
    const std::string name = TemporaryName(kStagingPrefix);
    if (mkdirat(own->get(), name.c_str(), 0700) != 0) return FromErrno(errno, "unpack into", shown);
    Fd dir(openat(own->get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st;
    if (dir && flock(dir.get(), LOCK_EX | LOCK_NB) == 0 && fstat(dir.get(), &st) == 0 && st.st_nlink > 0)
      return Staging(std::move(*own), std::move(dir), name);
  }
  return Error{CSB_E_IO, "cannot make a temporary folder in " + ForMessage(shown), "try again", true};
}

Result<int> RemoveStale(const Fd& folder, const std::string& shown) {
  auto own = Reopened(folder.get(), shown);
  if (!own) return own.error();
  std::unique_ptr<DIR, CloseDir> dir(fdopendir(own->get()));
  if (!dir) return FromErrno(errno, "list", shown);
  own->Release();
  int removed = 0;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (!StartsWith(name, kStagingPrefix) && !StartsWith(name, kWritePrefix)) continue;
    Fd fd(openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!fd || flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;  // in use, or gone
    if (auto done = RemoveAt(folder.get(), name, kAll, "a temporary"); !done) return done.error();
    ++removed;
  }
  return removed;
}

}  // namespace csb::agent
