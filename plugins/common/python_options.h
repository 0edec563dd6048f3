// SPDX-License-Identifier: Apache-2.0
//
// python_options.h: how long the agent keeps started interpreters, and what they have loaded, as options of
// its command line, the same whatever the backend (sandbox.warm_python, sandbox.preload).
//
//   for (std::string& option : PythonOptions(host)) command.push_back(std::move(option));
#pragma once

#include <string>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"

namespace csb {

// A name in sandbox.preload that cannot be a module's is left out and logged: it must not keep sandboxes from
// starting.
std::vector<std::string> PythonOptions(const HostRef& host);

}  // namespace csb
