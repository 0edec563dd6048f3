// SPDX-License-Identifier: Apache-2.0
//
// commands.h: the command line of clara-sandbox: finds the command by its name and runs it.
#pragma once

namespace csb::host {

// Exit codes of every command but `run`, which ends with that of the code it ran.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;  // it was tried and did not work
inline constexpr int kExitUsage = 2;    // the command line or the configuration is wrong

// The whole program; returns its exit code. Never throws.
int Main(int argc, char** argv) noexcept;

}  // namespace csb::host
