// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/workspace_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "plugins/common/errno_error.h"
#include "plugins/common/small_file.h"
#include "plugins/common/unique_fd.h"

namespace csb::bwrap {
namespace {

constexpr uint64_t kBytesPerInode = 16 << 10;

// The exit status of a program of e2fsprogs, its output thrown away.
Result<int> RunTool(const char* name, std::vector<std::string> words) {
  words.insert(words.begin(), name);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::string environment_path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  char* environment[] = {environment_path.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  pid_t child = 0;
  int error = ENOENT;
  for (const char* folder : {"/usr/sbin/", "/sbin/", "/usr/bin/"}) {
    error = posix_spawn(&child, (folder + std::string(name)).c_str(), &actions, nullptr, argv.data(),
                        environment);
    if (error == 0) break;
  }
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    Error out = ErrnoError("start", name, error);
    out.hint = "install e2fsprogs";
    return out;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

Status Format(const std::string& path, uint64_t bytes) {
  const std::string inodes = std::to_string(std::max<uint64_t>(64, bytes / kBytesPerInode));
  // No journal: what is lost with the machine is a sandbox's, and e2fsck mends the rest.
  auto made =
      RunTool("mkfs.ext4", {"-q", "-F", "-b", "4096", "-m", "0", "-N", inodes, "-O",
                            "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard", path});
  if (!made) return made.error();
  if (*made != 0)
    return Error{CSB_E_IO, "mkfs.ext4 failed on " + path, "run it by hand to see why; the disk may be full",
                 false};
  // Saves every create the removal. Where debugfs is missing or fails, each first mount does it.
  [[maybe_unused]] const auto removed = RunTool("debugfs", {"-w", "-R", "rmdir lost+found", path});
  return {};
}

// Only what is written is copied, so the copy is sparse too.
Status CopySparse(int from, int to, uint64_t size, const std::string& to_path) {
  if (ioctl(to, FICLONE, from) == 0) return {};
  if (ftruncate(to, static_cast<off_t>(size)) != 0) return ErrnoError("ftruncate", to_path);
  for (off_t at = 0;;) {
    at = lseek(from, at, SEEK_DATA);
    if (at < 0) break;  // ENXIO: nothing but holes from here on
    const off_t end = lseek(from, at, SEEK_HOLE);
    if (end < 0) return ErrnoError("lseek", "template");
    off_t out = at;
    while (at < end) {
      const ssize_t n = copy_file_range(from, &at, to, &out, static_cast<size_t>(end - at), 0);
      if (n <= 0) return ErrnoError("copy_file_range", to_path);
    }
  }
  return {};
}

}  // namespace

std::string ImagesPossible() {
  if (geteuid() != 0) return "only root may mount file systems";
  UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control) return std::string("/dev/loop-control: ") + strerror(errno);
  for (const char* program : {"/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4"})
    if (access(program, X_OK) == 0) return {};
  return "mkfs.ext4 is missing (package e2fsprogs)";
}

std::string ImageTemplates::PathOf(uint64_t bytes) const {
  return folder_ + "/ext4-2-" + std::to_string(bytes);
}

Status ImageTemplates::Prepare(uint64_t bytes) const {
  const std::string path = PathOf(bytes);
  if (Exists(path)) return {};
  if (bytes < kLeastImage)
    return Error{CSB_E_INVALID,
                 "bubblewrap.disk: " + std::to_string(bytes) + " bytes are too few for a file system",
                 "at least 8 MiB", false};
  if (Status s = MakeFolders(folder_, 0700); !s) return s;
  std::string temporary = path + ".XXXXXX";
  UniqueFd fd(mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) return ErrnoError("mkostemp", temporary);
  Status status;
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) status = ErrnoError("ftruncate", temporary);
  if (status) status = Format(temporary, bytes);
  if (status && rename(temporary.c_str(), path.c_str()) != 0) status = ErrnoError("rename", path);
  if (!status) unlink(temporary.c_str());
  return status;
}

Status ImageTemplates::Make(const std::string& image, uint64_t bytes) const {
  if (Exists(image)) return {};
  bytes = bytes / 4096 * 4096;
  if (Status s = Prepare(bytes); !s) return s;
  UniqueFd from(open(PathOf(bytes).c_str(), O_RDONLY | O_CLOEXEC));
  if (!from) return ErrnoError("open", PathOf(bytes));
  std::string temporary = image + ".XXXXXX";
  UniqueFd to(mkostemp(temporary.data(), O_CLOEXEC));
  if (!to) return ErrnoError("mkostemp", temporary);
  Status status = CopySparse(from.get(), to.get(), bytes, temporary);
  if (status && rename(temporary.c_str(), image.c_str()) != 0) status = ErrnoError("rename", image);
  if (!status) unlink(temporary.c_str());
  return status;
}

Status RemoveTree(const std::string& folder) {
  UniqueFd root(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) {
    if (errno == ENOENT) return {};
    return ErrnoError("open", folder);
  }
  struct stat root_info {};
  if (fstat(root.get(), &root_info) != 0) return ErrnoError("fstat", folder);
  // Folders inside folders are moved up to the root before they are emptied: two levels are open at
  // most, whatever the depth.
  uint64_t moved = 0;
  const auto empty = [&](int at, bool is_root, bool* progress) -> Status {
    UniqueFd again(openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR* dir = again ? fdopendir(again.release()) : nullptr;
    if (dir == nullptr) return ErrnoError("open", folder);
    Status status;
    while (dirent* entry = readdir(dir)) {
      const char* name = entry->d_name;
      if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
      if (unlinkat(at, name, 0) == 0 || unlinkat(at, name, AT_REMOVEDIR) == 0) {
        *progress = true;
        continue;
      }
      if (is_root) continue;
      for (;;) {
        const std::string up = ".remove-" + std::to_string(moved++);
        if (renameat2(at, name, root.get(), up.c_str(), RENAME_NOREPLACE) == 0) break;
        if (errno != EEXIST) {
          status = ErrnoError("remove", folder + "/…/" + name);
          break;
        }
      }
      if (!status) break;
      *progress = true;
    }
    closedir(dir);
    return status;
  };
  for (bool progress = true; progress;) {
    progress = false;
    if (Status s = empty(root.get(), true, &progress); !s) return s;
    UniqueFd again(openat(root.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR* dir = again ? fdopendir(again.release()) : nullptr;
    if (dir == nullptr) return ErrnoError("open", folder);
    Status status;
    while (dirent* entry = readdir(dir)) {
      if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
      UniqueFd sub(openat(root.get(), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      struct stat info {};
      if (!sub || fstat(sub.get(), &info) != 0 || info.st_dev != root_info.st_dev) continue;
      fchmod(sub.get(), 0700);  // unprivileged: the user may have taken our rights away
      if (status = empty(sub.get(), false, &progress); !status) break;
    }
    closedir(dir);
    if (!status) return status;
  }
  if (rmdir(folder.c_str()) != 0 && errno != ENOENT) return ErrnoError("rmdir", folder);
  return {};
}

}  // namespace csb::bwrap
