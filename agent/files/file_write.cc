// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "agent/base/fd.h"
#include "agent/files/operations.h"
#include "agent/files/paths.h"

namespace csb::agent {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel's own bound

struct Target {
  std::string path;            // with the links of its last part followed
  std::optional<mode_t> mode;  // of the file that is there
};

Result<mode_t> ParseMode(const std::string& text) {
  mode_t mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7' || text.size() > 4)
      return Error{CSB_E_INVALID, "mode: must be octal, like 0644", "", false};
    mode = mode * 8 + static_cast<mode_t>(c - '0');
  }
  if (text.empty() || mode > 0777)
    return Error{CSB_E_INVALID, "mode: must be between 0000 and 0777", "", false};
  return mode;
}

Result<Target> FindTarget(const std::string& path) {
  std::string at = path;
  for (int links = 0; links < kMaxLinks; ++links) {
    const std::string_view name = LastName(at);
    if (at.back() == '/' || name == "." || name == "..") return FromErrno(EISDIR, "write", path);
    struct stat st;
    if (lstat(at.c_str(), &st) != 0) {
      if (errno == ENOENT) return Target{at, std::nullopt};
      if (errno == ENOTDIR)
        return Error{CSB_E_CONFLICT, "Not a directory: a part of " + ForMessage(path),
                     "a file stands where a folder is needed", false};
      return FromErrno(errno, "write", path);
    }
    if (S_ISLNK(st.st_mode)) {
      std::string to(4096, '\0');
      const ssize_t n = readlink(at.c_str(), to.data(), to.size());
      if (n <= 0) return FromErrno(n < 0 ? errno : ENOENT, "write", path);
      to.resize(static_cast<size_t>(n));
      at = to[0] == '/' ? to : FolderOf(at) + "/" + to;
      continue;
    }
    if (S_ISDIR(st.st_mode)) return FromErrno(EISDIR, "write", path);
    if (!S_ISREG(st.st_mode))
      return Error{CSB_E_INVALID, "Not a regular file: " + ForMessage(path), "delete it first", false};
    // Renaming over it would not ask for this right.
    if (faccessat(AT_FDCWD, at.c_str(), W_OK, AT_EACCESS) != 0) return FromErrno(errno, "write", path);
    return Target{at, st.st_mode & 0777};
  }
  return FromErrno(ELOOP, "write", path);
}

// What the input goes to before it gets its name.
class Staged {
 public:
  Staged(const Staged&) = delete;
  static Result<Staged> In(Fd folder, const std::string& path);
  Staged(Staged&& other) noexcept
      : folder_(std::move(other.folder_)),
        file_(std::move(other.file_)),
        name_(std::exchange(other.name_, "")) {}
  ~Staged() {
    if (!name_.empty()) unlinkat(folder_.get(), name_.c_str(), 0);
  }
  int fd() const { return file_.get(); }
  // 0 or errno. Replaces what has that name.
  int Publish(int folder, const std::string& name) {
    if (name_.empty()) {
      const std::string self = "/proc/self/fd/" + std::to_string(file_.get());
      if (linkat(AT_FDCWD, self.c_str(), folder, name.c_str(), AT_SYMLINK_FOLLOW) == 0) return 0;
      if (errno != EEXIST) return errno;
      const std::string temporary = TemporaryName(kWritePrefix);
      if (linkat(AT_FDCWD, self.c_str(), folder, temporary.c_str(), AT_SYMLINK_FOLLOW) != 0) return errno;
      if (renameat(folder, temporary.c_str(), folder, name.c_str()) == 0) return 0;
      const int err = errno;
      unlinkat(folder, temporary.c_str(), 0);
      return err;
    }
    if (renameat(folder_.get(), name_.c_str(), folder, name.c_str()) != 0) return errno;
    name_.clear();
    return 0;
  }

 private:
  Staged(Fd folder, Fd file, std::string name)
      : folder_(std::move(folder)), file_(std::move(file)), name_(std::move(name)) {}
  Fd folder_, file_;
  std::string name_;  // "" while it has none
};

Result<Staged> Staged::In(Fd folder, const std::string& path) {
  // An unnamed file goes away with this process, however that ends. It gets its name through /proc.
  if (access("/proc/self/fd", X_OK) == 0) {
    Fd file(openat(folder.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    if (file) return Staged(std::move(folder), std::move(file), "");
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOSYS && errno != ENOENT)
      return FromErrno(errno, "write", path);
  }
  std::string name = TemporaryName(kWritePrefix);
  Fd file(openat(folder.get(), name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return FromErrno(errno, "write", path);
  return Staged(std::move(folder), std::move(file), std::move(name));
}

}  // namespace

Result<std::string> FileWrite(const FileTask& task) {
  auto path = RequiredPath(task.args, "path");
  if (!path) return path.error();
  auto mode_text = OptionalText(task.args, "mode");
  if (!mode_text) return mode_text.error();
  std::optional<mode_t> mode;
  if (*mode_text) {
    auto parsed = ParseMode(**mode_text);
    if (!parsed) return parsed.error();
    mode = *parsed;
  }
  auto target = FindTarget(*path);
  if (!target) return target.error();
  const std::string parent = FolderOf(target->path);
  auto folder = OpenNearestFolder(parent);
  if (!folder) return folder.error();
  auto staged = Staged::In(std::move(*folder), *path);
  if (!staged) return staged.error();

  // A larger pipe spares switches between this process and the agent; refused is fine.
  fcntl(task.io.in_fd, F_SETPIPE_SZ, 1 << 20);
  std::string buffer(256 << 10, '\0');
  int64_t size = 0;
  while (true) {
    const ssize_t n = ReadSome(task.io.in_fd, buffer.data(), buffer.size());
    if (n < 0) return FromErrno(errno, "take the input of", *path);
    if (n == 0) break;
    if (!WriteAll(staged->fd(), {buffer.data(), static_cast<size_t>(n)}))
      return FromErrno(errno, "write", *path);
    size += n;
  }
  if (fchmod(staged->fd(), mode.value_or(target->mode.value_or(0644))) != 0)
    return FromErrno(errno, "write", *path);

  MadeFolders made;
  auto opened = made.Make(parent);
  if (!opened) return opened.error();
  if (const int err = staged->Publish(opened->get(), std::string(LastName(target->path))); err != 0)
    return FromErrno(err, "write", *path);
  made.Keep();

  json::Buffer out;
  json::Writer w(out);
  w.StartObject();
  json::Member(w, "path", *path);
  json::Member(w, "size", size);
  w.EndObject();
  return std::string(out.GetString(), out.GetSize());
}

}  // namespace csb::agent
