// SPDX-License-Identifier: Apache-2.0
//
// task_io.h: how an operation answers: bytes on a descriptor, lines of JSON on result_fd, and the
// reading of its arguments.
//
//   auto path = RequiredPath(args, "path");
//   if (!path) return path.error();
//   writer.Event(CSB_EVENT_META, "{\"size\":3}");
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

// False with errno set when the other end is gone.
bool WriteAll(int fd, std::string_view bytes);
// One read, again after EINTR; waits when the descriptor is non-blocking. 0: end of file, -1: errno.
ssize_t ReadSome(int fd, char* buffer, size_t size);

class ResultWriter {
 public:
  explicit ResultWriter(int fd) : fd_(fd) {}
  bool Event(uint32_t event, std::string_view data_json);
  bool Done(std::string_view result_json);
  bool Failed(const Error& error);

 private:
  bool Line(std::string line);
  int fd_;
};

// UTF-8, 1 to 4,096 bytes, no NUL; anything else is CSB_E_INVALID and names `member`.
Result<std::string> RequiredPath(const json::Value& args, std::string_view member);
Result<std::string> OptionalPath(const json::Value& args, std::string_view member, std::string_view fallback);
// Absent and null are nullopt; another type is CSB_E_INVALID.
Result<std::optional<int64_t>> OptionalInt(const json::Value& args, std::string_view member);
Result<std::optional<std::string>> OptionalText(const json::Value& args, std::string_view member);
Result<bool> OptionalFlag(const json::Value& args, std::string_view member);
// OptionalInt within [low, high].
Result<int64_t> IntBetween(const json::Value& args, std::string_view member, int64_t fallback, int64_t low,
                           int64_t high);

// The error a user can act on for errno `err`, met when doing `what` ("read", "write") to `path`.
Error FromErrno(int err, std::string_view what, std::string_view path);

// `path` fit for a message: valid UTF-8, no control characters, at most 300 bytes.
std::string ForMessage(std::string_view path);
// As `ls -b`, spaces kept: control characters and bytes that are not UTF-8 become \ooo, a backslash
// two. Reversible.
std::string EscapeName(std::string_view name);

}  // namespace csb::agent
