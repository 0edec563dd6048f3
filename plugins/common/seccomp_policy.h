// SPDX-License-Identifier: Apache-2.0
//
// seccomp_policy.h: the system calls that processes in a sandbox may make: one allowlist for every backend
// that can hand a filter to its engine, each in the engine's own form.
//
//   for (const SeccompRule& rule : SeccompPolicy()) …    // what is not named: ENOSYS
//
// - Only the native ABI: any other (i386, x32) kills the process; the backend's form has to say so.
// - What is not known answers ENOSYS, so that programs fall back as on an older kernel; clone3 does
//   too, since its flags can't be seen. What is known and refused answers EPERM.
// - clone with a namespace flag is refused; so are sockets but unix, TCP, UDP and route netlink, and
//   ioctls that are not listed, first those that put characters into a terminal (TIOCSTI, TIOCLINUX).
//   The kernel takes int arguments by their low 32 bits, so only those are compared.
// Sources: seccomp(2), seccomp_rule_add(3), clone(2), socket(2), tty_ioctl(4).
#pragma once

#include <cstdint>
#include <vector>

namespace csb {

// (argument `index` & mask) == value
struct SeccompArg {
  unsigned index;
  uint64_t mask;
  uint64_t value;
};

struct SeccompRule {
  const char* name;              // of the call; some exist on other architectures or newer kernels only
  int error;                     // 0: allowed, else the errno that refuses it
  std::vector<SeccompArg> when;  // all must hold; empty: always
};

// Thread-safe; lives as long as the library.
const std::vector<SeccompRule>& SeccompPolicy();

}  // namespace csb
