// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace csb::agent {
namespace {

Error Failed(const char* what) {
  return {CSB_E_INTERNAL, std::string(what) + ": " + strerror(errno),
          "the agent needs CAP_SETUID, CAP_SETGID and CAP_KILL in its user namespace for --user", false};
}

bool GetCapabilities(__user_cap_data_struct (&data)[2]) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  return syscall(SYS_capget, &header, data) == 0;
}

bool IsRoomFor(const Identity& identity) { return identity.uid != getuid() && identity.uid != 0; }

}  // namespace

bool HasCapability(int capability) {
  __user_cap_data_struct data[2]{};
  if (!GetCapabilities(data)) return false;
  return (data[capability / 32].effective >> (capability % 32) & 1) != 0;
}

Status DropPrivileges(const Identity& identity) {
  umask(022);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &standard, nullptr);
  struct sigaction ignored {};
  ignored.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignored, nullptr);
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) < 0) return Failed("cannot forbid core dumps");

  if (identity.separate) {
    if (!IsRoomFor(identity))
      return Error{CSB_E_INVALID, "--user must be another uid than the agent's and not 0", "", false};
    if (setgroups(0, nullptr) < 0 && getgroups(0, nullptr) != 0)
      return Failed("cannot drop supplementary groups");
    for (const int needed : {CAP_SETUID, CAP_SETGID, CAP_KILL})
      if (!HasCapability(needed)) {
        errno = EPERM;
        return Failed("cannot run commands as --user");
      }
  }
  // Needs CAP_SETPCAP; without it no_new_privs still keeps an execve from gaining anything.
  if (HasCapability(CAP_SETPCAP))
    for (int number = 0; number <= CAP_LAST_CAP || prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; ++number)
      if (prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0)
        return Failed("cannot empty the capability bounding set");
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);  // an error: a kernel without ambient ones
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return Failed("no_new_privs");

  const uint32_t kept = identity.separate ? 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL : 0;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  data[0].effective = data[0].permitted = kept;
  if (syscall(SYS_capset, &header, data) < 0) return Failed("cannot drop capabilities");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return Failed("cannot become non-dumpable");
  return {};
}

}  // namespace csb::agent
