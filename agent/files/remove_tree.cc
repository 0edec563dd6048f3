// SPDX-License-Identifier: Apache-2.0
#include "agent/files/remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "agent/base/fd.h"
#include "agent/files/task_io.h"

namespace csb::agent {
namespace {

constexpr size_t kOpenLevels = 32;

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

// One folder on the way down; `dir` is empty while the level is too far up to be kept open.
struct Level {
  std::string name;
  dev_t dev;
  ino_t ino;
  Dir dir;
};

class Remover {
 public:
  Remover(const RemoveOptions& options, std::string shown) : options_(options), shown_(std::move(shown)) {}

  Status Tree(int folder, const std::string& name) {
    if (auto entered = Enter(folder, name); !entered) return entered;
    while (!levels_.empty()) {
      if (auto step = Step(folder); !step) return step;
    }
    return {};
  }

 private:
  // Empties the lowest folder up to its first subfolder, or leaves it when it is empty.
  Status Step(int root) {
    DIR* dir = levels_.back().dir.get();
    errno = 0;
    const dirent* entry = readdir(dir);
    if (entry == nullptr && errno != 0) return Fault();
    if (entry == nullptr) return Leave(root);
    const std::string name = entry->d_name;
    if (name == "." || name == "..") return {};
    if (unlinkat(dirfd(dir), name.c_str(), 0) == 0 || errno == ENOENT) return {};
    const int err = errno;  // EISDIR on Linux, EPERM by POSIX
    struct stat st;
    if (fstatat(dirfd(dir), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode)) {
      errno = err;
      return Fault();
    }
    return Enter(dirfd(dir), name);
  }

  Status Enter(int folder, const std::string& name) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    Fd fd(openat(folder, name.c_str(), kFlags));
    if (!fd && errno == EACCES && options_.force_rights && fchmodat(folder, name.c_str(), 0700, 0) == 0)
      fd = Fd(openat(folder, name.c_str(), kFlags));
    struct stat st;
    if (!fd || fstat(fd.get(), &st) != 0) return Fault();
    if (options_.force_rights && (st.st_mode & 0700) != 0700) fchmod(fd.get(), 0700);
    Dir dir(fdopendir(fd.get()));
    if (!dir) return Fault();
    fd.Release();
    levels_.push_back({name, st.st_dev, st.st_ino, std::move(dir)});
    if (levels_.size() > kOpenLevels) levels_[levels_.size() - 1 - kOpenLevels].dir.reset();
    return {};
  }

  Status Leave(int root) {
    const Level left = std::move(levels_.back());
    levels_.pop_back();
    if (levels_.empty()) return Rmdir(root, left.name);
    Level& up = levels_.back();
    if (!up.dir) {
      Fd fd(openat(dirfd(left.dir.get()), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      struct stat st;
      if (!fd || fstat(fd.get(), &st) != 0) return Fault();
      if (st.st_dev != up.dev || st.st_ino != up.ino)
        return Error{CSB_E_CONFLICT, "Changed while it was deleted: " + ForMessage(shown_), "try again",
                     true};
      up.dir = Dir(fdopendir(fd.get()));
      if (!up.dir) return Fault();
      fd.Release();
    }
    return Rmdir(dirfd(up.dir.get()), left.name);
  }

  Status Rmdir(int folder, const std::string& name) {
    if (unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    return Fault();
  }

  Status Fault() const { return FromErrno(errno, "delete", shown_); }

  const RemoveOptions& options_;
  const std::string shown_;
  std::vector<Level> levels_;
};

}  // namespace

Status RemoveAt(int folder, const std::string& name, const RemoveOptions& options, const std::string& shown) {
  struct stat st;
  if (fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return FromErrno(errno, "delete", shown);
  if (!S_ISDIR(st.st_mode)) {
    if (unlinkat(folder, name.c_str(), 0) != 0) return FromErrno(errno, "delete", shown);
    return {};
  }
  if (options.recursive) return Remover(options, shown).Tree(folder, name);
  if (unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0) return {};
  if (errno == ENOTEMPTY || errno == EEXIST)
    return Error{CSB_E_CONFLICT, "Directory not empty: " + ForMessage(shown),
                 "set recursive to delete it with all it holds", false};
  return FromErrno(errno, "delete", shown);
}

}  // namespace csb::agent
