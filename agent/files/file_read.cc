// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "agent/base/fd.h"
#include "agent/files/attributes.h"
#include "agent/files/operations.h"
#include "clara_sandbox/operation.h"

namespace csb::agent {
namespace {

constexpr size_t kMaxPseudoFile = 1 << 20;

Error NotRegular(const std::string& path, mode_t mode) {
  if (S_ISDIR(mode)) return {CSB_E_INVALID, "Is a directory: " + ForMessage(path), "list it instead", false};
  return {CSB_E_INVALID,
          "Not a regular file: " + ForMessage(path) + " is a " +
              (S_ISFIFO(mode)   ? "FIFO"
               : S_ISSOCK(mode) ? "socket"
                                : "device"),
          "", false};
}

// st_size of these says nothing about the content (proc(5), sysfs, cgroups and their like).
bool SizeIsUnknown(int fd, const struct stat& st) {
  if (st.st_size == 0) return true;
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0) return false;
  switch (static_cast<unsigned long>(fs.f_type)) {
    case 0x9fa0:      // proc
    case 0x62656572:  // sysfs
    case 0x27e0eb:    // cgroup v1
    case 0x63677270:  // cgroup v2
      return true;
    default:
      return false;
  }
}

// The whole of a file of unknown size; "" is an answer too.
Result<std::string> Slurp(int fd, const std::string& path) {
  std::string content(kMaxPseudoFile + 1, '\0');
  size_t size = 0;
  while (size < content.size()) {
    const ssize_t n = read(fd, content.data() + size, content.size() - size);
    if (n == 0) break;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, "read", path);
    size += static_cast<size_t>(n);
  }
  if (size > kMaxPseudoFile)
    return Error{CSB_E_TOO_LARGE,
                 "File too large: " + ForMessage(path) + " does not tell its size and goes on past 1 MiB",
                 "read it by a command and keep the part you need", false};
  content.resize(size);
  return content;
}

struct Range {
  int64_t offset;
  int64_t length;
};

Range Clip(int64_t size, std::optional<int64_t> offset, std::optional<int64_t> length) {
  int64_t begin = offset.value_or(0);
  if (begin < 0) begin = begin < -size ? 0 : size + begin;
  begin = std::min(begin, size);
  return {begin, std::min(length.value_or(size), size - begin)};
}

std::string MetaJson(const std::string& path, const struct stat& st, int64_t size, Range range) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "path", path);
  json::Member(w, "size", size);
  json::Member(w, "mode", OctalMode(st.st_mode));
  json::Member(w, "mtime", Rfc3339(st.st_mtim));
  json::Member(w, "offset", range.offset);
  json::Member(w, "length", range.length);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

// Exactly `range` from fd to out; sendfile(2) first, read and write where it is not offered.
Status Copy(int fd, int out, Range range, const std::string& path) {
  off_t at = range.offset;
  const off_t end = range.offset + range.length;
  std::string buffer;
  while (at < end) {
    ssize_t n = 0;
    if (buffer.empty()) {
      n = sendfile(out, fd, &at, static_cast<size_t>(std::min<off_t>(end - at, 1 << 20)));
      if (n < 0 && (errno == EINVAL || errno == ENOSYS || errno == EPERM || errno == EAGAIN)) {
        buffer.resize(256 << 10);
        continue;
      }
    } else {
      n = pread(fd, buffer.data(),
                static_cast<size_t>(std::min<off_t>(end - at, static_cast<off_t>(buffer.size()))), at);
      if (n > 0 && !WriteAll(out, {buffer.data(), static_cast<size_t>(n)}))
        return FromErrno(errno, "send", path);
      if (n > 0) at += n;
    }
    if (n < 0 && errno != EINTR) return FromErrno(errno, "read", path);
    if (n == 0)
      return Error{CSB_E_IO, "File shrank while it was read: " + ForMessage(path), "read it again", true};
  }
  return {};
}

}  // namespace

Result<std::string> FileRead(const FileTask& task) {
  auto path = RequiredPath(task.args, "path");
  if (!path) return path.error();
  auto offset = OptionalInt(task.args, "offset");
  if (!offset) return offset.error();
  auto length = OptionalInt(task.args, "length");
  if (!length) return length.error();
  if (length->value_or(0) < 0) return Error{CSB_E_INVALID, "length: must not be negative", "", false};

  // Looked at before it is opened: opening a device can act on it.
  struct stat st;
  if (stat(path->c_str(), &st) != 0) return FromErrno(errno, "read", *path);
  if (!S_ISREG(st.st_mode)) return NotRegular(*path, st.st_mode);
  Fd file(open(path->c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file || fstat(file.get(), &st) != 0) return FromErrno(errno, "read", *path);
  if (!S_ISREG(st.st_mode)) return NotRegular(*path, st.st_mode);

  if (SizeIsUnknown(file.get(), st)) {
    auto content = Slurp(file.get(), *path);
    if (!content) return content.error();
    const auto size = static_cast<int64_t>(content->size());
    const Range range = Clip(size, *offset, *length);
    const std::string meta = MetaJson(*path, st, size, range);
    if (!task.writer.Event(CSB_EVENT_META, meta)) return FromErrno(errno, "send", *path);
    const auto part = std::string_view(*content).substr(static_cast<size_t>(range.offset),
                                                        static_cast<size_t>(range.length));
    if (!WriteAll(task.io.out_fd, part)) return FromErrno(errno, "send", *path);
    return meta;
  }
  const Range range = Clip(st.st_size, *offset, *length);
  const std::string meta = MetaJson(*path, st, st.st_size, range);
  if (!task.writer.Event(CSB_EVENT_META, meta)) return FromErrno(errno, "send", *path);
  if (auto copied = Copy(file.get(), task.io.out_fd, range, *path); !copied) return copied.error();
  return meta;
}

}  // namespace csb::agent
