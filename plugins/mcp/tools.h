// SPDX-License-Identifier: Apache-2.0
//
// tools.h: the tools: one table from which the list is written and by which calls are read.
//
//   const Tool* tool = FindTool("run_shell");
//   auto request = MakeRequest(*tool, arguments, options);   // Error: CSB_E_INVALID, names the argument
//
// Arguments also come under other names that assistants use (`cmd` for `command`); those are
// accepted and not listed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/mcp/revision.h"

namespace csb::mcp {

// What a tool answers with.
enum class Answer {
  kRun,        // a program ran: output, exit code
  kRead,       // a file's content: text, or an image
  kWrite,      // path and size
  kList,       // a folder's entries
  kProcess,    // how a process is
  kProcesses,  // how all are
  kOutput,     // what a process printed
  kInput,      // how much a process took
  kReset,      // whether there was something to end
};

struct Argument {
  std::string_view name;
  std::string_view type;  // of JSON schema: string, number, integer, boolean
  bool required;
  std::string_view description;
  std::string_view aliases = {};  // other names, separated by spaces
};

struct Tool {
  std::string_view name;  // [a-z0-9_]{1,24}
  std::string_view title;
  std::string_view description;
  uint32_t op;  // CSB_OP_*
  Answer answer;
  std::span<const Argument> arguments;
  bool read_only, destructive, idempotent, open_world;  // annotations
};

struct ToolOptions {
  std::string user = "default";  // whose sandbox a call without user_id means
  bool only = false;             // refuse any other user_id
  size_t max_output = 30'000;    // bytes of output in an answer, head and tail together
  double yield_after = 45;       // seconds after which a run goes on in the background; 0: never
};

std::span<const Tool> Tools();
const Tool* FindTool(std::string_view name);      // null: unknown
std::string_view OutputSchema(const Tool& tool);  // JSON; empty: none

// The result of tools/list, as JSON.
std::string ToolList(const Revision& revision);

struct ToolRequest {
  std::string user;
  std::string payload;  // of the operation
  std::string content;  // what is sent as input
};
Result<ToolRequest> MakeRequest(const Tool& tool, const json::Value* arguments, const ToolOptions& options);

}  // namespace csb::mcp
