// SPDX-License-Identifier: Apache-2.0
//
// seccomp_program.h: the policy of seccomp_policy.h compiled to the BPF program that `bwrap --seccomp FD` and
// the agent's `--seccomp FILE` take. A library of its own, csb_plugin_seccomp: it needs libseccomp.
//
//   auto program = SeccompProgram();      // once per process: it takes some milliseconds
//   if (!program) return program.error();
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"

namespace csb {

// The bytes of an array of struct sock_filter, for this machine's architecture.
Result<std::string> SeccompProgram();

}  // namespace csb
