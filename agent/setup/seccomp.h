// SPDX-License-Identifier: Apache-2.0
//
// seccomp.h: the system call filter that the agent puts on itself, for all that it starts (seccomp(2)).
// Engines that have none of their own for it (Incus) leave this to the agent; the program comes from the
// host.
//
//   auto program = ReadSeccompProgram("/.clara/seccomp");   // while any file can be read
//   if (!program) return program.error();
//   ...                                                     // all other set-up
//   if (auto held = InstallSeccomp(*program); !held) return held;
#pragma once

#include <linux/filter.h>

#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

// A regular file of 1 to 4096 struct sock_filter.
Result<std::vector<sock_filter>> ReadSeccompProgram(const std::string& path);

// For good, on this thread and everything it starts; needs no_new_privs to be set. An error: the kernel does
// not take the program, and nothing may be served.
Status InstallSeccomp(std::vector<sock_filter>& program);

}  // namespace csb::agent
