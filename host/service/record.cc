// SPDX-License-Identifier: Apache-2.0
#include "host/service/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

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
  const auto instant = [](int64_t ms) { return ms >= 0 && ms < kYear10000; };
  if (!user || !backend || !NameOrEmpty(*backend) || count < 0 || !instant(created) || !instant(last_used))
    return Error{CSB_E_INVALID, "members are missing or wrong", "", false};
  return UserRecord{
      std::string(*user), std::string(*backend),        created,
      last_used,          static_cast<uint64_t>(count), json::GetBool(*doc, "destroyed").value_or(false)};
}

}  // namespace

RecordStore::RecordStore(std::string state_dir, std::function<void(std::string)> warn)
    : folder_(state_dir.empty() ? "" : state_dir + "/users"), warn_(std::move(warn)) {}

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
  std::error_code ec;
  std::filesystem::create_directories(std::filesystem::path(folder_).parent_path(), ec);
  if (::mkdir(folder_.c_str(), 0700) != 0 && errno != EEXIST) return Failed("mkdir", folder_);
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

Status RecordStore::Remove(std::string_view user) const {
  if (folder_.empty()) return {};
  const std::string path = PathOf(user);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Failed("unlink", path);
  return {};
}

}  // namespace csb::host
