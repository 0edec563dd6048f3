// SPDX-License-Identifier: Apache-2.0
//
// command.h: from an operation's payload (docs/operations.md) to what a supervisor runs. Checks every member
// again: the host has done so, but nothing here relies on it.
//
//   auto command = PrepareCommand("shell", args, settings);
//   if (!command) return command.error();
//   Run(command->spec);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/process/spec.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct CommandSettings {
  std::string workspace = "/workspace";
  std::string tmp = "/tmp";
  std::string python;            // absolute path; empty: looked for in the system folders
  bool python_of_path = false;   // python is what PATH finds at the start, or there is none (python.h)
  std::vector<std::string> env;  // "NAME=value", over the defaults
  bool warm_python = false;      // runs may be forks of an interpreter that is started already
  std::string preload;           // modules it has loaded then, by commas
};

// How the end of a command is told.
enum class Answer { kRun, kFile };

struct Command {
  StartSpec spec;
  Answer answer = Answer::kRun;
  uint8_t out_stream = 1;       // CSB_STREAM_* of what the command writes to its descriptor 1
  bool waits_for_meta = false;  // no output before the event META
  bool is_pip = false;
  bool offline_pip = false;  // pip runs without an index
  std::optional<uint64_t> head, tail;
};

Result<Command> PrepareCommand(std::string_view op, const json::Value& args, const CommandSettings& settings);

}  // namespace csb::agent
