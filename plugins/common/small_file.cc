// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/small_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <charconv>

#include "plugins/common/errno_error.h"
#include "plugins/common/unique_fd.h"

namespace csb {
namespace {

Status WriteAll(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("write", path);
    text.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<std::string> ReadSmallFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) {
    Error error = ErrnoError("open", path);
    if (errno == ENOENT) error.code = CSB_E_NOT_FOUND;
    return error;
  }
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("read", path);
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > (64 << 10)) return Error{CSB_E_TOO_LARGE, "read " + path + ": over 64 KiB", "", false};
  }
}

Status WriteSmallFile(const std::string& path, std::string_view text) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return ErrnoError("open", path);
  ssize_t n;
  do n = write(fd.get(), text.data(), text.size());
  while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(text.size()))
    return ErrnoError("write \"" + std::string(text) + "\" to", path);
  return {};
}

Status ReplaceSmallFile(const std::string& path, std::string_view text, bool durable) {
  std::string temporary = path + ".XXXXXX";
  UniqueFd fd(mkostemp(temporary.data(), O_CLOEXEC));  // 0600
  if (!fd) return ErrnoError("mkostemp", temporary);
  Status status = WriteAll(fd.get(), text, temporary);
  if (status && durable && fsync(fd.get()) != 0) status = ErrnoError("fsync", temporary);
  if (status && rename(temporary.c_str(), path.c_str()) != 0) status = ErrnoError("rename", path);
  if (!status) unlink(temporary.c_str());
  return status;
}

Status OverwriteSmallFile(const std::string& path, std::string_view text) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return ErrnoError("open", path);
  ssize_t n;
  do n = pwrite(fd.get(), text.data(), text.size(), 0);
  while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(text.size())) return ErrnoError("write", path);
  if (ftruncate(fd.get(), static_cast<off_t>(text.size())) != 0) return ErrnoError("ftruncate", path);
  return {};
}

Status SyncFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return ErrnoError("open", path);
  if (fsync(fd.get()) != 0) return ErrnoError("fsync", path);
  UniqueFd folder(open(ParentOf(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || fsync(folder.get()) != 0) return ErrnoError("fsync", ParentOf(path));
  return {};
}

void RemoveUnfinished(const std::string& path) {
  DIR* dir = opendir(ParentOf(path).c_str());
  if (dir == nullptr) return;
  const std::string start = path.substr(path.rfind('/') + 1) + ".";
  while (const dirent* entry = readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name.size() == start.size() + 6 && name.substr(0, start.size()) == start)
      unlinkat(dirfd(dir), entry->d_name, 0);
  }
  closedir(dir);
}

Status MakeFolders(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0) {
    if (chmod(path.c_str(), mode) != 0) return ErrnoError("chmod", path);
    return {};
  }
  if (errno == EEXIST) return {};
  if (errno != ENOENT || path == "/" || path.empty()) return ErrnoError("mkdir", path);
  if (Status s = MakeFolders(ParentOf(path), mode); !s) return s;
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return ErrnoError("mkdir", path);
  if (chmod(path.c_str(), mode) != 0) return ErrnoError("chmod", path);
  return {};
}

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::optional<uint64_t> ParseCount(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (text == "max") return UINT64_MAX;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<uint64_t> ParseKeyed(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.size() > key.size() && line.substr(0, key.size()) == key && line[key.size()] == ' ')
      return ParseCount(line.substr(key.size() + 1));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : text.size());
  }
  return std::nullopt;
}

std::string StatusField(std::string_view status, std::string_view key) {
  while (!status.empty()) {
    std::string_view line = status.substr(0, status.find('\n'));
    status.remove_prefix(line.size() < status.size() ? line.size() + 1 : status.size());
    if (line.size() <= key.size() || line.substr(0, key.size()) != key || line[key.size()] != ':') continue;
    line.remove_prefix(key.size() + 1);
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
    return std::string(line);
  }
  return {};
}

}  // namespace csb
