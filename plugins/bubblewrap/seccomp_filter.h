// SPDX-License-Identifier: Apache-2.0
//
// seccomp_filter.h: the system calls that processes in a sandbox may make: an allowlist, compiled to
// the BPF program that `bwrap --seccomp FD` takes.
//
//   auto filter = BuildSeccompFilter();      // once per process: it takes some milliseconds
//   if (!filter) return filter.error();
//
// - Only the native ABI: any other (i386, x32) kills the process.
// - What is not known answers ENOSYS, so that programs fall back as on an older kernel; clone3 does
//   too, since its flags can't be seen. What is known and refused answers EPERM.
// - clone with a namespace flag is refused; so are sockets but unix, TCP, UDP and route netlink, and
//   ioctls that are not listed, first those that put characters into a terminal (TIOCSTI, TIOCLINUX).
//   The kernel takes int arguments by their low 32 bits, so only those are compared.
// Sources: seccomp(2), seccomp_rule_add(3), clone(2), socket(2), tty_ioctl(4).
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"

namespace csb::bwrap {

// The bytes of an array of struct sock_filter.
Result<std::string> BuildSeccompFilter();

}  // namespace csb::bwrap
