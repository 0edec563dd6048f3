// SPDX-License-Identifier: Apache-2.0
//
// spec.h: what a supervisor is asked to run and what it answers, and how both travel over the
// socket between the agent and a supervisor (both are ours, one machine, one binary: no byte
// order, but every length is checked).
//
//   StartSpec spec;
//   spec.argv = {"/bin/sh", "-c", command};
//   spec.cwd = "/workspace";
//   const std::string bytes = spec.Serialize();
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace csb::agent {

struct StartSpec {
  // A program: argv[0] is looked up along PATH of env unless it has a slash.
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "NAME=value"
  std::string cwd;
  // Text that is written to a private file for the life of the command; argv[code_arg] becomes its path.
  std::string code;
  std::string code_name;  // empty: no code
  uint32_t code_arg = 0;
  // Not empty: argv is {python, "", arguments…}, and the run may be a fork of an interpreter that was started
  // ahead in this environment (python/warm_interpreter.h); the supervisor keeps one for the next such run.
  std::vector<std::string> warm_env;
  uint32_t terminal = 0;    // 1: descriptor 0 is a terminal, to become the one that controls it
  uint32_t long_lived = 0;  // 1: the run goes on for long, so none is kept beside it
  // Not a program but work of ours, done in a process that has become the user (a file operation).
  std::string task;
  std::string task_args;  // JSON object

  std::string Serialize() const;
  static std::optional<StartSpec> Parse(std::string_view bytes);
};

// Where a start failed.
enum class Stage : int32_t { kNone, kSpec, kCodeFile, kFork, kSetup, kUser, kCwd, kExec };

// Supervisor to agent, once per start: everything of the command is gone.
struct Report {
  Stage stage = Stage::kNone;  // kNone: it ran, wait_status is valid
  int32_t error = 0;           // errno of the stage
  int32_t wait_status = 0;     // of the main process, as waitpid(2) gives it
  int32_t warm = 0;            // 1: this supervisor has, or will have, an interpreter that is started already
};

// Agent to supervisor: a datagram; kStart has the spec behind the word, or in a memfd that comes last among
// its descriptors, which are stdin, stdout, stderr and, for a task, the result pipe.
// kSignal has the number behind the word: a signal for the main process and its group.
enum class Order : uint32_t { kStart = 1, kStartFromFile = 2, kKill = 3, kSignal = 4 };
inline constexpr size_t kInlineSpec = 32 << 10;
inline constexpr int kMaxPassedFds = 6;

}  // namespace csb::agent
