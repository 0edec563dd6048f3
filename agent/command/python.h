// SPDX-License-Identifier: Apache-2.0
//
// python.h: where the interpreter of execute and pip is.
//
//   ChoosePython(settings, identity);        // once, at the agent's start
//   auto python = FindPython(settings);      // each time
#pragma once

#include <string>
#include <string_view>

#include "agent/command/command.h"
#include "agent/process/spawn.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

inline constexpr std::string_view kSystemPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// PATH of commands: the one that a backend gave, or the workspace's own programs and the system's.
std::string CommandPath(const CommandSettings& settings);

// With settings.python_of_path: settings.python becomes the python3 that PATH finds, or stays empty. The
// image's is meant: folders in the workspace, where code may have left one, and relative ones are passed
// over, and so is what the user of `identity` may not run.
void ChoosePython(CommandSettings& settings, const Identity& identity);

// CSB_E_UNAVAILABLE with what to do about it, when there is none.
Result<std::string> FindPython(const CommandSettings& settings);

}  // namespace csb::agent
