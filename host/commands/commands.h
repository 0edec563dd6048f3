// SPDX-License-Identifier: Apache-2.0
//
// commands.h: the command line of clara-sandbox: one table of commands, found by name.
#pragma once

#include <span>

#include "host/commands/app.h"
#include "host/commands/arguments.h"

namespace csb::host {

// Exit codes of every command but `run`, which ends with that of the code it ran.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;  // it was tried and did not work
inline constexpr int kExitUsage = 2;    // the command line or the configuration is wrong

struct Command {
  const char* name;
  const char* usage;    // what follows the name
  const char* summary;  // one line
  const char* details;  // paragraphs of the help text
  std::span<const OptionSpec> options;
  bool takes_rest;  // words that are no options
  int (*run)(const Arguments& arguments);
  bool hidden = false;  // for packages and shells, not for people
};

// One for each command, in its own file.
extern const Command kServeCommand, kStdioCommand, kRunCommand, kShellCommand, kMoveCommand, kDoctorCommand,
    kExplainCommand, kPluginsCommand, kConfigCommand, kManualCommand, kCompleteCommand;
// In the order of the help; the hidden ones last.
std::span<const Command* const> AllCommands();

// The whole program; returns its exit code. Never throws.
int Main(int argc, char** argv) noexcept;

// Prints the error; kExitUsage for CSB_E_INVALID, else kExitFailure.
int Fail(const Error& error);

// Lines about exit codes, for help and manual.
extern const char kExitCodes[];

// Its own options and those that every command takes; its help text.
std::vector<OptionSpec> AllOptions(const Command& command);
int PrintHelp(const Command& command);

// What the options that every command takes ask for.
AppOptions OptionsOf(const Arguments& arguments);

}  // namespace csb::host
