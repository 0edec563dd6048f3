// SPDX-License-Identifier: Apache-2.0
#include "agent/bridge/evict.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <vector>

#include "agent/base/fd.h"
#include "agent/base/log.h"
#include "agent/base/proc_file.h"

namespace csb::agent {
namespace {

constexpr int kDeathMs = 2'000;

// The process in a name ID-PID or ID-PID.sock of this very ID (which may hold a '-' itself); 0: another file.
pid_t BridgeOf(std::string_view name, std::string_view host_id) {
  if (name.size() > kSocketEnding.size() && name.substr(name.size() - kSocketEnding.size()) == kSocketEnding)
    name.remove_suffix(kSocketEnding.size());
  if (name.size() < host_id.size() + 2 || name.substr(0, host_id.size()) != host_id ||
      name[host_id.size()] != '-')
    return 0;
  name.remove_prefix(host_id.size() + 1);
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  return error == std::errc() && end == name.data() + name.size() && pid > 0 ? pid : 0;
}

// Is the value of `option` among the arguments of `line` (each ended by a NUL) this one?
bool HasOption(std::string_view line, std::string_view option, std::string_view value) {
  const std::string wanted =
      std::string(1, '\0') + std::string(option) + '\0' + std::string(value) + std::string(1, '\0');
  return line.find(wanted) != std::string_view::npos;
}

// Its user ids, and its pids in this namespace and those below: one more word is a namespace further down.
bool IsOurKind(const std::string& status, const std::string& own) {
  return !status.empty() && StatusField(status, "Uid") == StatusField(own, "Uid") &&
         Words(StatusField(status, "NSpid")).size() == Words(StatusField(own, "NSpid")).size();
}

// By its command line, which code of the user could write as well, and by its user id, which is this
// process's own and out of that code's reach.
bool IsBridge(pid_t pid, const std::string& folder, const std::string& host_id) {
  const std::string base = "/proc/" + std::to_string(pid);
  const std::string line = ReadSmallFile(base + "/cmdline").value_or("");
  return HasOption(line, "--connect", folder) && HasOption(line, "--host-id", host_id) &&
         IsOurKind(ReadSmallFile(base + "/status").value_or(""),
                   ReadSmallFile("/proc/self/status").value_or(""));
}

Status Kill(pid_t pid, const std::string& folder, const std::string& host_id) {
  const Fd handle(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!handle && errno == ESRCH) return {};
  // After the handle is open, so that what is looked at is what is killed.
  if (!IsBridge(pid, folder, host_id)) return {};
  Log("ending an older bridge of this host, process %d", static_cast<int>(pid));
  const int64_t until = NowNs() + kDeathMs * kMs;
  // Without handles (some engines' own kernels) the number itself has to do.
  const bool sent = handle ? syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0) == 0
                           : kill(pid, SIGKILL) == 0;
  if (!sent && errno != ESRCH)
    return Error{CSB_E_IO,
                 "cannot end the older bridge, process " + std::to_string(pid) + ": " + strerror(errno), "",
                 false};
  if (!handle) return {};
  pollfd death{handle.get(), POLLIN, 0};
  int ready;
  do ready = poll(&death, 1, static_cast<int>((until - NowNs()) / kMs) + 1);
  while (ready < 0 && errno == EINTR && NowNs() < until);
  if (ready > 0) return {};
  return Error{CSB_E_UNAVAILABLE, "the older bridge, process " + std::to_string(pid) + ", does not end", "",
               true};
}

}  // namespace

std::string BridgeName(std::string_view host_id, pid_t pid) {
  return std::string(host_id) + "-" + std::to_string(pid);
}

Status EvictBridges(const std::string& folder, const std::string& host_id) {
  std::vector<std::string> names;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return Error{CSB_E_IO, "cannot read " + folder + ": " + strerror(errno), "", false};
  while (const dirent* entry = readdir(dir)) names.emplace_back(entry->d_name);
  closedir(dir);
  for (const auto& name : names) {
    const pid_t pid = BridgeOf(name, host_id);
    if (pid == 0) continue;
    if (pid != getpid())
      if (auto killed = Kill(pid, folder, host_id); !killed) return killed;
    const std::string path = folder + "/" + name;
    if (unlink(path.c_str()) < 0 && errno != ENOENT)
      return Error{CSB_E_IO, "cannot remove " + path + ": " + strerror(errno), "", false};
  }
  return {};
}

}  // namespace csb::agent
