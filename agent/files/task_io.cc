// SPDX-License-Identifier: Apache-2.0
#include "agent/files/task_io.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/files/task.h"
#include "clara_sandbox/cpp/utf8.h"

namespace csb::agent {
namespace {

constexpr size_t kMaxPath = 4096;
constexpr size_t kMaxShown = 300;

bool WaitFor(int fd, short events) {
  pollfd p{fd, events, 0};
  return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

Error Wrong(std::string_view member, std::string_view why) {
  return {CSB_E_INVALID, std::string(member) + ": " + std::string(why), "", false};
}

Result<std::string> CheckedPath(std::string_view path, std::string_view member) {
  if (path.empty()) return Wrong(member, "must not be empty");
  if (path.size() > kMaxPath) return Wrong(member, "is longer than 4096 bytes");
  if (path.find('\0') != std::string_view::npos) return Wrong(member, "must not contain a NUL byte");
  if (!utf8::Valid(path)) return Wrong(member, "is not valid UTF-8");
  return std::string(path);
}

}  // namespace

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {
      if (!WaitFor(fd, POLLOUT)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

ssize_t ReadSome(int fd, char* buffer, size_t size) {
  while (true) {
    const ssize_t n = read(fd, buffer, size);
    if (n >= 0) return n;
    if (errno == EAGAIN) {
      if (!WaitFor(fd, POLLIN)) return -1;
    } else if (errno != EINTR) {
      return -1;
    }
  }
}

bool ResultWriter::Line(std::string line) {
  line.push_back('\n');
  return WriteAll(fd_, line);
}

bool ResultWriter::Event(uint32_t event, std::string_view data_json) {
  return Line("{\"event\":" + std::to_string(event) + ",\"data\":" + std::string(data_json) + "}");
}

bool ResultWriter::Done(std::string_view result_json) {
  if (result_json.size() + 64 > kMaxResultLine)
    return Failed({CSB_E_TOO_LARGE,
                   "the result has " + std::to_string(result_json.size()) + " bytes, too many to send",
                   "ask for less at once", false});
  return Line("{\"code\":0,\"result\":" + std::string(result_json) + "}");
}

bool ResultWriter::Failed(const Error& error) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", static_cast<int>(error.code));
  json::Member(w, "message", utf8::Clean(error.message));
  json::Member(w, "hint", utf8::Clean(error.hint));
  json::Member(w, "retryable", error.retryable);
  w.EndObject();
  return Line({buffer.GetString(), buffer.GetSize()});
}

Result<std::string> RequiredPath(const json::Value& args, std::string_view member) {
  const json::Value* v = json::Find(args, member);
  if (v == nullptr) return Wrong(member, "is missing");
  if (!v->IsString()) return Wrong(member, "must be a string");
  return CheckedPath({v->GetString(), v->GetStringLength()}, member);
}

Result<std::string> OptionalPath(const json::Value& args, std::string_view member,
                                 std::string_view fallback) {
  if (json::Find(args, member) == nullptr) return std::string(fallback);
  return RequiredPath(args, member);
}

Result<std::optional<int64_t>> OptionalInt(const json::Value& args, std::string_view member) {
  const json::Value* v = json::Find(args, member);
  if (v == nullptr) return std::optional<int64_t>();
  if (!v->IsInt64()) return Wrong(member, "must be a whole number");
  return std::optional<int64_t>(v->GetInt64());
}

Result<std::optional<std::string>> OptionalText(const json::Value& args, std::string_view member) {
  const json::Value* v = json::Find(args, member);
  if (v == nullptr) return std::optional<std::string>();
  if (!v->IsString()) return Wrong(member, "must be a string");
  return std::optional<std::string>(std::in_place, v->GetString(), v->GetStringLength());
}

Result<bool> OptionalFlag(const json::Value& args, std::string_view member) {
  const json::Value* v = json::Find(args, member);
  if (v == nullptr) return false;
  if (!v->IsBool()) return Wrong(member, "must be true or false");
  return v->GetBool();
}

Result<int64_t> IntBetween(const json::Value& args, std::string_view member, int64_t fallback, int64_t low,
                           int64_t high) {
  auto value = OptionalInt(args, member);
  if (!value) return value.error();
  const int64_t n = value->value_or(fallback);
  if (n < low || n > high)
    return Wrong(member, "must be between " + std::to_string(low) + " and " + std::to_string(high));
  return n;
}

Error FromErrno(int err, std::string_view what, std::string_view path) {
  const std::string shown = ForMessage(path);
  switch (err) {
    case ENOENT:
      return {CSB_E_NOT_FOUND, "File not found: " + shown, "list the folder to see what there is", false};
    case ENOTDIR:
      return {CSB_E_NOT_FOUND, "File not found: " + shown, "a part of the path is not a folder", false};
    case EACCES:
    case EPERM:
      return {CSB_E_FORBIDDEN, "Permission denied: cannot " + std::string(what) + " " + shown,
              "the sandbox's user may write in /workspace and /tmp; chmod helps where a file is its own",
              false};
    case EROFS:
      return {CSB_E_FORBIDDEN, "Read-only file system: cannot " + std::string(what) + " " + shown,
              "the sandbox's user may write in /workspace and /tmp", false};
    case ENOSPC:
    case EDQUOT:
      return {CSB_E_NO_SPACE, "No space left: cannot " + std::string(what) + " " + shown,
              "delete files of the sandbox, or raise its disk limit", false};
    case EFBIG:
      return {CSB_E_TOO_LARGE, "File too large: cannot " + std::string(what) + " " + shown, "", false};
    case ENAMETOOLONG:
      return {CSB_E_INVALID, "File name too long: " + shown, "a name has at most 255 bytes, a path 4095",
              false};
    case ELOOP:
      return {CSB_E_INVALID, "Too many links in the path: " + shown, "the links point to each other", false};
    case EISDIR:
      return {CSB_E_CONFLICT, "Is a directory: " + shown, "name the file in it", false};
    case EEXIST:
    case ENOTEMPTY:
      return {CSB_E_CONFLICT, "Already exists or is not empty: " + shown,
              "delete it first, or use another name", false};
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
      return {CSB_E_NO_CAPACITY, "cannot " + std::string(what) + " " + shown + ": " + strerror(err),
              "end some of the sandbox's processes", true};
    default:
      return {CSB_E_IO, "cannot " + std::string(what) + " " + shown + ": " + strerror(err), "", false};
  }
}

std::string EscapeName(std::string_view name) {
  std::string out;
  const auto octal = [&out](unsigned char c) {
    out.push_back('\\');
    for (int shift = 6; shift >= 0; shift -= 3) out.push_back(static_cast<char>('0' + ((c >> shift) & 7)));
  };
  while (!name.empty()) {
    const int n = utf8::SequenceLength(name);
    const auto c = static_cast<unsigned char>(name[0]);
    // U+0080 to U+009F are control characters too.
    const bool c1 = n == 2 && c == 0xC2 && static_cast<unsigned char>(name[1]) < 0xA0;
    if (n <= 0 || c < 0x20 || c == 0x7F || c1) {
      octal(c);
      name.remove_prefix(1);
      continue;
    }
    if (c == '\\') out.push_back('\\');
    out.append(name.substr(0, static_cast<size_t>(n)));
    name.remove_prefix(static_cast<size_t>(n));
  }
  return out;
}

std::string ForMessage(std::string_view path) {
  std::string shown;
  for (const char c : utf8::Clean(path))
    shown.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c);
  if (shown.size() <= kMaxShown) return shown;
  size_t n = kMaxShown;
  while (n > 0 && (static_cast<unsigned char>(shown[n]) & 0xC0) == 0x80) --n;
  return shown.substr(0, n) + "…";
}

}  // namespace csb::agent
