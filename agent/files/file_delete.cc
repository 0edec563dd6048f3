// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "agent/base/fd.h"
#include "agent/files/operations.h"
#include "agent/files/paths.h"
#include "agent/files/remove_tree.h"

namespace csb::agent {
namespace {

// True when `st` is the working directory (the workspace) or a folder above it.
Result<bool> HoldsWorkspace(const struct stat& st) {
  Fd at(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat here;
  if (!at || fstat(at.get(), &here) != 0) return FromErrno(errno, "look at", ".");
  while (true) {
    if (here.st_dev == st.st_dev && here.st_ino == st.st_ino) return true;
    Fd up(openat(at.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat above;
    if (!up || fstat(up.get(), &above) != 0) return FromErrno(errno, "look at", "..");
    if (above.st_dev == here.st_dev && above.st_ino == here.st_ino) return false;
    here = above;
    at = std::move(up);
  }
}

}  // namespace

Result<std::string> FileDelete(const FileTask& task) {
  auto path = RequiredPath(task.args, "path");
  if (!path) return path.error();
  auto recursive = OptionalFlag(task.args, "recursive");
  if (!recursive) return recursive.error();
  const std::string_view name = LastName(*path);
  if (name.empty() || name == "." || name == "..")
    return Error{CSB_E_INVALID, "path: cannot delete " + ForMessage(*path), "name the file or folder itself",
                 false};

  // A link with a slash behind it is refused below: it would mean the folder it points to.
  std::string plain = *path;
  while (plain.size() > 1 && plain.back() == '/') plain.pop_back();
  struct stat st;
  if (lstat(plain.c_str(), &st) != 0) return FromErrno(errno, "delete", *path);
  if (plain.size() != path->size() && !S_ISDIR(st.st_mode)) return FromErrno(ENOTDIR, "delete", *path);
  if (S_ISDIR(st.st_mode)) {
    auto holds = HoldsWorkspace(st);
    if (!holds) return holds.error();
    if (*holds)
      return Error{CSB_E_INVALID, "path: cannot delete " + ForMessage(*path) + ", the workspace is in it",
                   "delete what it holds; destroy with purge removes a whole workspace", false};
  }
  if (auto removed = RemoveAt(AT_FDCWD, plain, {.recursive = *recursive}, *path); !removed)
    return removed.error();
  json::Buffer out;
  json::Writer w(out);
  w.StartObject();
  json::Member(w, "path", *path);
  w.EndObject();
  return std::string(out.GetString(), out.GetSize());
}

}  // namespace csb::agent
