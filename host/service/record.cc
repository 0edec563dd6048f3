// SPDX-License-Identifier: Apache-2.0
#include "host/service/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::host {
namespace {

constexpr size_t kMaxFile = 64 << 10;
constexpr int64_t kYear10000 = 253'402'300'800'000;  // has no RFC 3339 time

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

Error Failed(const char* call, const std::string& path) {
  const int e = errno;
  return {e == ENOSPC || e == EDQUOT ? CSB_E_NO_SPACE : CSB_E_IO,
          std::string(call) + " " + path + ": " + strerror(e), "check sandbox.state_dir", false};
}

std::string ToJson(const UserRecord& r) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "user", std::string_view(r.user));
  json::Member(w, "backend", std::string_view(r.backend));
  json::Member(w, "created_ms", r.created_ms);
  json::Member(w, "last_used_ms", r.last_used_ms);
  json::Member(w, "execution_count", r.execution_count);
  json::Member(w, "destroyed", r.destroyed);
  if (!r.moved_from.empty()) json::Member(w, "moved_from", std::string_view(r.moved_from));
  if (!r.moving_to.empty()) json::Member(w, "moving_to", std::string_view(r.moving_to));
  if (r.revision != 0) json::Member(w, "revision", r.revision);
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize()) + "\n";
}

// As plugins are named: it stands in messages and in the log.
bool NameOrEmpty(std::string_view name) {
  return name.size() <= 32 && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == name.npos;
}

Result<UserRecord> FromJson(std::string_view text) {
  auto doc = json::ParseObject(text, 4);
  if (!doc) return doc.error();
  const auto user = json::GetString(*doc, "user");
  const auto backend = json::GetString(*doc, "backend");
  const auto count = json::GetInt(*doc, "execution_count").value_or(0);
  const auto created = json::GetInt(*doc, "created_ms").value_or(0);
  const auto last_used = json::GetInt(*doc, "last_used_ms").value_or(0);
  const auto moved_from = json::GetString(*doc, "moved_from").value_or("");
  const auto moving_to = json::GetString(*doc, "moving_to").value_or("");
  const auto revision = json::GetInt(*doc, "revision").value_or(0);
  const auto instant = [](int64_t ms) { return ms >= 0 && ms < kYear10000; };
  if (!user || !backend || !NameOrEmpty(*backend) || count < 0 || !instant(created) || !instant(last_used) ||
      !NameOrEmpty(moved_from) || !NameOrEmpty(moving_to) || revision < 0)
    return Error{CSB_E_INVALID, "members are missing or wrong", "", false};
  return UserRecord{.user = std::string(*user),
                    .backend = std::string(*backend),
                    .created_ms = created,
                    .last_used_ms = last_used,
                    .execution_count = static_cast<uint64_t>(count),
                    .destroyed = json::GetBool(*doc, "destroyed").value_or(false),
                    .moved_from = std::string(moved_from),
                    .moving_to = std::string(moving_to),
                    .revision = static_cast<uint64_t>(revision)};
}

Status MakeFolder(const std::string& folder) {
  std::error_code ec;
  std::filesystem::create_directories(std::filesystem::path(folder).parent_path(), ec);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return Failed("mkdir", folder);
  return {};
}

// One writer at a time, across host processes: what is written is made from what was read.
constexpr char kWriters[] = "/.lock";

Fd LockWrites(const std::string& folder) {
  Fd fd(::open((folder + kWriters).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  while (fd.get() >= 0 && ::flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) return Fd(-1);
  return fd;
}

struct flock WholeFile() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

MoveLock::~MoveLock() {
  if (fd_ < 0) return;
  ::unlink(path_.c_str());
  ::close(fd_);
}

// Locks of the open file (fcntl(2)): F_OFD_GETLK asks for one without taking it.
Result<MoveLock> RecordStore::LockMove(std::string_view user) const {
  if (moving_.empty())
    return Error{CSB_E_INVALID, "there is no state folder", "set sandbox.state_dir", false};
  if (auto s = MakeFolder(moving_); !s) return s.error();
  const std::string path = moving_ + "/" + EngineName(user);
  for (;;) {
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0) return Failed("open", path);
    struct flock lock = WholeFile();
    if (::fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
      if (errno == EAGAIN || errno == EACCES)
        return Error{CSB_E_CONFLICT, "the user is being moved by another process", "wait for it to end",
                     true};
      return Failed("fcntl", path);
    }
    // The one before may have removed the file between our open and our lock.
    struct stat ours {
    }, there{};
    if (::fstat(fd.get(), &ours) == 0 && ::stat(path.c_str(), &there) == 0 && ours.st_ino == there.st_ino)
      return MoveLock(fd.Release(), path);
  }
}

bool RecordStore::Moving(std::string_view name) const {
  if (moving_.empty()) return false;
  const Fd fd(::open((moving_ + "/").append(name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (fd.get() < 0) return false;
  struct flock lock = WholeFile();
  return ::fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

RecordStore::RecordStore(std::string state_dir, std::function<void(std::string)> warn)
    : folder_(state_dir.empty() ? "" : state_dir + "/users"),
      moving_(state_dir.empty() ? "" : state_dir + "/moving"),
      warn_(std::move(warn)) {}

std::string RecordStore::PathOf(std::string_view user) const {
  return folder_ + "/" + EngineName(user) + ".json";
}

std::optional<UserRecord> RecordStore::Load(std::string_view user) const {
  if (folder_.empty()) return std::nullopt;
  const std::string path = PathOf(user);
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd.get() < 0) {
    if (errno != ENOENT) warn_(Failed("open", path).message);
    return std::nullopt;
  }
  std::string text(kMaxFile + 1, '\0');
  size_t size = 0;
  for (;;) {
    const ssize_t n = ::read(fd.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      warn_(Failed("read", path).message);
      return std::nullopt;
    }
    if (n == 0 || size + static_cast<size_t>(n) > kMaxFile) {
      size += static_cast<size_t>(n);
      break;
    }
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  auto record = size > kMaxFile ? Result<UserRecord>(Error{CSB_E_TOO_LARGE, "it is too long", "", false})
                                : FromJson(text);
  if (record && record->user == user) return *std::move(record);

  const std::string aside = path + ".corrupt";
  std::string line = "the record " + path + " is damaged (" +
                     (record ? "it is another user's" : record.error().message) + ") and was moved to " +
                     aside;
  if (::rename(path.c_str(), aside.c_str()) != 0) line += ", which failed: " + std::string(strerror(errno));
  warn_(std::move(line));
  return std::nullopt;
}

Status RecordStore::Save(const UserRecord& record) const {
  if (folder_.empty()) return {};
  if (auto s = MakeFolder(folder_); !s) return s;
  const Fd lock = LockWrites(folder_);
  if (lock.get() < 0) return Failed("lock", folder_ + kWriters);
  UserRecord merged = record;
  if (const auto old = Load(record.user); old && old->revision > record.revision) {
    merged.backend = old->backend;
    merged.moved_from = old->moved_from;
    merged.moving_to = old->moving_to;
    merged.revision = old->revision;
  }
  return Write(merged);
}

Status RecordStore::Update(std::string_view user, const std::function<void(UserRecord&)>& change) const {
  if (folder_.empty())
    return Error{CSB_E_INVALID, "there is no state folder", "set sandbox.state_dir", false};
  if (auto s = MakeFolder(folder_); !s) return s;
  const Fd lock = LockWrites(folder_);
  if (lock.get() < 0) return Failed("lock", folder_ + kWriters);
  UserRecord record = Load(user).value_or(UserRecord{.user = std::string(user)});
  change(record);
  const auto now = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                             std::chrono::system_clock::now().time_since_epoch())
                                             .count());
  record.revision = std::max(record.revision + 1, now);
  return Write(record);
}

Status RecordStore::Write(const UserRecord& record) const {
  const std::string path = PathOf(record.user);
  const std::string temporary = path + "." + std::to_string(::getpid()) + ".tmp";
  {
    const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0) return Failed("open", temporary);
    const std::string text = ToJson(record);
    size_t done = 0;
    while (done < text.size()) {
      const ssize_t n = ::write(fd.get(), text.data() + done, text.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        const Error error = Failed("write", temporary);
        ::unlink(temporary.c_str());
        return error;
      }
      done += static_cast<size_t>(n);
    }
    if (::fsync(fd.get()) != 0) {
      const Error error = Failed("fsync", temporary);
      ::unlink(temporary.c_str());
      return error;
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const Error error = Failed("rename", temporary);
    ::unlink(temporary.c_str());
    return error;
  }
  const Fd folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) return Failed("fsync", folder_);
  return {};
}

Status RecordStore::Remove(std::string_view user, uint64_t revision) const {
  if (folder_.empty() || ::access(folder_.c_str(), F_OK) != 0) return {};
  const Fd lock = LockWrites(folder_);
  if (lock.get() < 0) return Failed("lock", folder_ + kWriters);
  if (const auto old = Load(user); old && old->revision > revision) return {};
  const std::string path = PathOf(user);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Failed("unlink", path);
  return {};
}

}  // namespace csb::host
