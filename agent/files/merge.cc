// SPDX-License-Identifier: Apache-2.0
#include "agent/files/merge.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/fd.h"
#include "agent/files/task_io.h"

namespace csb::agent {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

Result<std::vector<std::string>> NamesIn(int folder, const std::string& shown) {
  Fd again(openat(folder, ".", kFolderFlags));
  std::unique_ptr<DIR, CloseDir> dir(again ? fdopendir(again.get()) : nullptr);
  if (!dir) return FromErrno(errno, "list", shown);
  again.Release();
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) return FromErrno(errno, "list", shown);
  return names;
}

bool MayReplace(mode_t old_mode, mode_t new_mode) {
  return S_ISREG(old_mode) || (S_ISLNK(old_mode) && S_ISLNK(new_mode));
}

Error Conflict(const std::string& shown, mode_t old_mode) {
  return {CSB_E_CONFLICT,
          ForMessage(shown) + ": " +
              (S_ISDIR(old_mode)   ? "a folder"
               : S_ISLNK(old_mode) ? "a link"
                                   : "a special file") +
              " of that name is in the destination",
          "delete it, or choose another destination", false};
}

Status Merge(int from, int to, MergeStep step, const std::string& above) {
  auto names = NamesIn(from, above);
  if (!names) return names.error();
  for (const std::string& name : *names) {
    const std::string shown = above.empty() ? name : above + "/" + name;
    struct stat now, old;
    if (fstatat(from, name.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0) return FromErrno(errno, "unpack", shown);
    const bool there = fstatat(to, name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there && errno != ENOENT) return FromErrno(errno, "unpack", shown);
    if (there && S_ISDIR(now.st_mode) && S_ISDIR(old.st_mode)) {
      Fd a(openat(from, name.c_str(), kFolderFlags));
      Fd b(openat(to, name.c_str(), kFolderFlags));
      if (!a || !b) return FromErrno(errno, "unpack", shown);
      if (auto merged = Merge(a.get(), b.get(), step, shown); !merged) return merged;
      continue;
    }
    if (there && (S_ISDIR(now.st_mode) || !MayReplace(old.st_mode, now.st_mode)))
      return Conflict(shown, old.st_mode);
    if (step == MergeStep::kCheck) continue;
    // Where nothing was seen nothing may be replaced; file systems without the flag say EINVAL.
    int done = renameat2(from, name.c_str(), to, name.c_str(), there ? 0 : RENAME_NOREPLACE);
    if (done != 0 && !there && (errno == EINVAL || errno == ENOSYS))
      done = renameat(from, name.c_str(), to, name.c_str());
    if (done != 0) return FromErrno(errno, "unpack", shown);
  }
  return {};
}

}  // namespace

Status MergeTree(int from, int to, MergeStep step) { return Merge(from, to, step, ""); }

}  // namespace csb::agent
