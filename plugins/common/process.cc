// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/process.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "plugins/common/small_file.h"

namespace csb {
namespace {

// Field `index` (3 is the state) of /proc/PID/stat; the name before it may contain anything.
std::optional<uint64_t> StatField(pid_t pid, int index) {
  const auto text = ReadSmallFile("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return std::nullopt;
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream words(text->substr(name_end + 1));
  std::string word;
  for (int i = 3; i <= index; ++i)
    if (!(words >> word)) return std::nullopt;
  return ParseCount(word);
}

const std::string& BootId() {
  static const std::string id = [] {
    auto text = ReadSmallFile("/proc/sys/kernel/random/boot_id");
    return text ? text->substr(0, 36) : std::string("unknown");
  }();
  return id;
}

}  // namespace

std::optional<ProcessId> Identify(pid_t pid) {
  const auto start = StatField(pid, 22);
  if (!start) return std::nullopt;
  return ProcessId{pid, *start, BootId()};
}

Pidfd OpenSame(const ProcessId& id) {
  if (id.pid <= 1 || id.boot != BootId()) return {};
  auto process = Pidfd::Open(id.pid);
  // Read after opening: if the pid was reused in between, the start time tells.
  if (!process || Identify(id.pid) != id || process->Ended()) return {};
  return *std::move(process);
}

pid_t ParentOf(pid_t pid) { return static_cast<pid_t>(StatField(pid, 4).value_or(0)); }

bool WaitEnd(const Pidfd& process, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + limit;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd wait{process.get(), POLLIN, 0};
    const int n = poll(&wait, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

}  // namespace csb
