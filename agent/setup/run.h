// SPDX-License-Identifier: Apache-2.0
//
// run.h: the agent from its command line to its end; main.cc without the process around it.
//
//   _exit(RunAgent({"--control", "/run/control", "--user", "1001"}));
#pragma once

#include <string>
#include <vector>

namespace csb::agent {

// The exit code. Changes the process for good (privileges, signals, limits); never throws.
int RunAgent(const std::vector<std::string>& arguments);

}  // namespace csb::agent
