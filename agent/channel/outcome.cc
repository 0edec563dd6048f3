// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/outcome.h"

#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"

namespace csb::agent {
namespace {

constexpr const char* kDeadlineHint =
    "raise the request's timeout (cap: SANDBOX_MAX_EXECUTION_TIMEOUT), shorten the code, or run it in the "
    "background";
constexpr const char* kMemoryHint = "raise *_SANDBOX_MEMORY, use less memory, or work in chunks";

struct Ending {
  int exit_code = 0;
  const char* cause = "exit";
  int signal = 0;
  std::string message;
  std::string hint;
};

std::string TimedOut(uint64_t timeout_ms) {
  if (timeout_ms == 0) return "Execution timed out";
  char text[64];
  std::snprintf(text, sizeof text, "Execution timed out after %g s", static_cast<double>(timeout_ms) / 1000);
  return text;
}

// What could not be started is an answer as a shell gives it (127, 126) where the caller's program is at
// fault, else an error.
Result<Ending> NotStarted(const Command& command, const Report& report) {
  const int error = report.error;
  const std::string why = strerror(error);
  const std::string program =
      command.spec.argv.empty() ? command.spec.task : utf8::Clean(command.spec.argv[0]);
  switch (report.stage) {
    case Stage::kExec:
      if (error == ENOENT || error == ENOTDIR)
        return Ending{127, "exit", 0, "command not found: " + program,
                      "check its name and PATH, or install it"};
      if (error == E2BIG)
        return Error{CSB_E_TOO_LARGE, "arguments and environment are too long for one command",
                     "write them to a file and pass its path", false};
      if (error == ENOMEM || error == EAGAIN) break;
      return Ending{126, "exit", 0, "cannot execute " + program + ": " + why,
                    error == ENOEXEC ? "it is no program for this machine, or lacks a #! line"
                                     : "check its mode: chmod +x"};
    case Stage::kCwd:
      return Error{CSB_E_INVALID, "cwd: cannot start in " + utf8::Clean(command.spec.cwd) + ": " + why,
                   "give a folder that exists and that the sandbox's user may enter", false};
    case Stage::kCodeFile:
      if (error == ENOSPC || error == EDQUOT)
        return Error{CSB_E_NO_SPACE, "cannot store the code in the sandbox: " + why,
                     "remove files from /tmp, or raise the sandbox's limits", false};
      return Error{CSB_E_IO, "cannot store the code in the sandbox: " + why,
                   "is its temporary folder there and writable?", false};
    default:
      break;
  }
  if (error == EAGAIN)
    return Error{CSB_E_NO_CAPACITY, "cannot start " + program + ": processes exhausted in the sandbox",
                 "end background processes, or raise the sandbox's limits", true};
  if (error == ENOMEM)
    return Error{CSB_E_NO_CAPACITY, "cannot start " + program + ": memory exhausted in the sandbox",
                 kMemoryHint, true};
  return Error{CSB_E_INTERNAL, "cannot start " + program + ": " + why, "", false};
}

Ending Ended(const OutcomeInput& input) {
  const int status = input.report.wait_status;
  if (input.deadline) return {124, "deadline", 0, TimedOut(input.timeout_ms), kDeadlineHint};
  if (input.cancelled) return {130, "cancelled", 0, "Execution cancelled", ""};
  if (input.lost) return {137, "signal", SIGKILL, "the command killed its own supervisor and was ended", ""};
  const bool killed = (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
                      (WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGKILL);
  if (killed && input.oom_counted)
    return {137, "oom", SIGKILL, "OOM killed: the memory limit was reached", kMemoryHint};
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    Ending ending{128 + number, "signal", number, "", ""};
    const char* name = sigdescr_np(number);
    ending.message =
        "ended by signal " + std::to_string(number) + (name ? std::string(" (") + name + ")" : "");
    if (number == SIGKILL) ending.hint = std::string("if memory ran out: ") + kMemoryHint;
    return ending;
  }
  return {WEXITSTATUS(status), "exit", 0, "", ""};
}

std::string RunPayload(const Ending& ending, const OutcomeInput& input) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", 0);
  w.Key("result");
  w.StartObject();
  json::Member(w, "exit_code", ending.exit_code);
  json::Member(w, "cause", ending.cause);
  json::Member(w, "signal", ending.signal);
  json::Member(w, "execution_time", input.seconds);
  json::Member(w, "stdout_bytes", input.stdout_bytes);
  json::Member(w, "stderr_bytes", input.stderr_bytes);
  json::Member(w, "stdout_dropped", input.stdout_dropped);
  json::Member(w, "stderr_dropped", input.stderr_dropped);
  json::Member(w, "message", ending.message);
  json::Member(w, "hint", ending.hint);
  if (input.memory_used && std::strcmp(ending.cause, "oom") == 0)
    json::Member(w, "memory_used", *input.memory_used);
  for (const auto& [name, value] : input.more) {
    json::Key(w, name);
    w.RawValue(value.data(), value.size(), rapidjson::kObjectType);
  }
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

// file_*: the task's own last line, or why there is none.
std::string FilePayload(const Command& command, const OutcomeInput& input) {
  if (!input.last_line.empty()) return input.last_line;
  if (input.deadline) return ErrorPayload({CSB_E_DEADLINE, TimedOut(input.timeout_ms), kDeadlineHint, false});
  if (input.cancelled) return ErrorPayload({CSB_E_CANCELLED, command.spec.task + " was cancelled", "", true});
  const Ending ending = Ended(input);
  if (std::strcmp(ending.cause, "oom") == 0)
    return ErrorPayload({CSB_E_NO_CAPACITY, ending.message, ending.hint, false});
  return ErrorPayload(
      {CSB_E_INTERNAL,
       command.spec.task + " ended without a result: " +
           (ending.message.empty() ? "exit code " + std::to_string(ending.exit_code) : ending.message),
       "", true});
}

}  // namespace

std::string ErrorPayload(const Error& error) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "code", static_cast<int>(error.code));
  json::Member(w, "message", utf8::Clean(error.message));
  json::Member(w, "hint", error.hint);
  json::Member(w, "retryable", error.retryable);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string DonePayload(const Command& command, const OutcomeInput& input) {
  if (input.failed) return ErrorPayload(*input.failed);
  if (input.report.stage != Stage::kNone) {
    auto ending = NotStarted(command, input.report);
    return ending ? RunPayload(*ending, input) : ErrorPayload(ending.error());
  }
  if (command.answer == Answer::kFile) return FilePayload(command, input);
  Ending ending = Ended(input);
  if (!command.spec.task.empty() && !input.last_line.empty() && !input.deadline && !input.cancelled) {
    const auto line = json::ParseObject(input.last_line);
    if (line && json::GetInt(*line, "code").value_or(0) != 0) return input.last_line;
    const json::Value* result = line ? json::Find(*line, "result") : nullptr;
    if (result != nullptr)
      ending.exit_code = static_cast<int>(json::GetInt(*result, "exit_code").value_or(ending.exit_code));
  }
  if (ending.exit_code != 0 && std::strcmp(ending.cause, "exit") == 0) {
    if (input.pip_missing) {
      ending.message = "pip is not installed in the sandbox";
      ending.hint = "install it where the sandbox's system comes from: apt-get install python3-pip";
    } else if (command.offline_pip && input.pip_no_match) {
      ending.hint =
          "this sandbox has no network: switch it on (*_SANDBOX_NETWORK), or write the wheel into the "
          "workspace and install it by its path";
    }
  }
  return RunPayload(ending, input);
}

}  // namespace csb::agent
