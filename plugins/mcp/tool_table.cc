// SPDX-License-Identifier: Apache-2.0
//
// The table of the tools: what a model reads of them. The order is the order of the list.
#include <array>

#include "clara_sandbox/operation.h"
#include "plugins/mcp/tools.h"

namespace csb::mcp {
namespace {

constexpr Argument kUser{
    "user_id", "string", false,
    "Whose sandbox to use; each user has an own one. Default: the user this server was started for."};
constexpr Argument kTimeout{"timeout", "number", false,
                            "Seconds after which everything the call started is ended."};
constexpr Argument kPath{"path", "string", true, "Path in the sandbox; a relative one starts at /workspace.",
                         "file_path filename archive"};

constexpr std::array kPython = {
    Argument{"code", "string", true, "Python 3 source. Print what you want to see.", "python_code script"},
    Argument{"context", "string", false,
             "Which interpreter: each name has variables of its own. Default: \"default\"."},
    Argument{"description", "string", false, "What the code is for, in a few words."}, kTimeout, kUser};
constexpr std::array kShell = {
    Argument{"command", "string", true, "Command line, run by sh -c in /workspace.", "cmd"}, kTimeout, kUser};
constexpr std::array kInstall = {Argument{"package", "string", true,
                                          "One requirement as pip takes it (numpy, requests[socks]>=2.31), "
                                          "or the path of a wheel in the sandbox.",
                                          "name"},
                                 kTimeout, kUser};
constexpr std::array kRead = {
    kPath, Argument{"offset", "integer", false, "First byte to read; negative: counted from the end."},
    Argument{"length", "integer", false, "Bytes to read at most."}, kUser};
constexpr std::array kWrite = {
    kPath, Argument{"content", "string", true, "The whole new content of the file, text.", "data text"},
    kUser};
constexpr std::array kList = {
    Argument{"path", "string", false, "Folder in the sandbox. Default: /workspace.", "directory file_path"},
    kUser};
constexpr std::array kUnzip = {
    Argument{"path", "string", true, "Archive in the sandbox: zip, tar, gz, bz2, xz or zst.",
             "archive file_path filename"},
    Argument{"destination", "string", false,
             "Folder to unpack into; made if missing. Default: the archive's folder.", "dest"},
    kUser};

constexpr Argument kHandle{"handle", "string", true, "As a tool's answer gave it: p_ and 24 hex digits."};
constexpr Argument kOffset{
    "offset", "integer", false,
    "First byte, counted over all that was printed; negative: from the end. Default: 0."};
constexpr Argument kLimit{"limit", "integer", false,
                          "Bytes at most, up to 1,048,576. Default: what an answer holds."};
constexpr std::array kReset = {
    Argument{"context", "string", false, "Which interpreter. Default: \"default\"."}, kUser};
constexpr std::array kReadOutput = {kHandle, kOffset, kLimit, kUser};
constexpr std::array kStart = {
    Argument{"command", "string", true, "Command line, run by sh -c in /workspace.", "cmd"}, kUser};
constexpr std::array kProcessOutput = {
    kHandle, kOffset,
    Argument{"wait", "number", false,
             "Seconds to wait, when nothing is there yet, for output or the end. Default: 0."},
    kUser};
constexpr std::array kStdin = {
    kHandle, Argument{"text", "string", true, "What to send; end a line with a newline.", "data input"},
    Argument{"eof", "boolean", false, "Close standard input after it."}, kUser};
constexpr std::array kSignal = {
    kHandle,
    Argument{"signal", "string", true, "INT, TERM, KILL, HUP and so on; KILL ends every descendant too."},
    kUser};
constexpr std::array kWait = {
    kHandle, Argument{"timeout", "number", false, "Seconds to wait at most. Default: 30."}, kUser};
constexpr std::array kOnlyUser = {kUser};

constexpr std::array kTools = {
    Tool{.name = "execute_python",
         .title = "Run Python",
         .description =
             "Runs Python 3 code in an isolated Linux sandbox. Variables, imports and functions stay for the "
             "next "
             "call with the same context, until reset_python or a restart of the sandbox. Returns what was "
             "printed, "
             "the value of a last expression, and images such as plots. Code that takes long goes on in the "
             "background, and the answer has a handle.",
         .op = CSB_OP_EXECUTE,
         .answer = Answer::kRun,
         .arguments = kPython,
         .read_only = false,
         .destructive = true,
         .idempotent = false,
         .open_world = false},
    Tool{.name = "run_shell",
         .title = "Run a shell command",
         .description =
             "Runs a shell command in an isolated Linux sandbox and returns its output and exit code. "
             "Each call is a new shell in /workspace: variables and the working directory do not carry "
             "over, files do. A command that takes long goes on in the background, and the answer has "
             "a handle; start_process is for servers and for what reads input.",
         .op = CSB_OP_SHELL,
         .answer = Answer::kRun,
         .arguments = kShell,
         .read_only = false,
         .destructive = true,
         .idempotent = false,
         .open_world = false},
    Tool{.name = "install_package",
         .title = "Install a Python package",
         .description =
             "Installs one Python package with pip into the sandbox. It stays installed for later calls.",
         .op = CSB_OP_PIP_INSTALL,
         .answer = Answer::kRun,
         .arguments = kInstall,
         .read_only = false,
         .destructive = false,
         .idempotent = true,
         .open_world = true},
    Tool{.name = "read_file",
         .title = "Read a file",
         .description =
             "Returns a file of the sandbox: text as text, a PNG, JPEG, GIF or WebP as an image, other "
             "bytes as base64. Of a large file the beginning; read on with offset.",
         .op = CSB_OP_FILE_READ,
         .answer = Answer::kRead,
         .arguments = kRead,
         .read_only = true,
         .destructive = false,
         .idempotent = true,
         .open_world = false},
    Tool{.name = "write_file",
         .title = "Write a file",
         .description =
             "Writes a text file in the sandbox, replacing what was there; missing folders are made.",
         .op = CSB_OP_FILE_WRITE,
         .answer = Answer::kWrite,
         .arguments = kWrite,
         .read_only = false,
         .destructive = true,
         .idempotent = true,
         .open_world = false},
    Tool{.name = "list_files",
         .title = "List a folder",
         .description = "Lists a folder of the sandbox with types, sizes and times.",
         .op = CSB_OP_FILE_LIST,
         .answer = Answer::kList,
         .arguments = kList,
         .read_only = true,
         .destructive = false,
         .idempotent = true,
         .open_world = false},
    Tool{.name = "unzip_file",
         .title = "Unpack an archive",
         .description = "Unpacks an archive that is in the sandbox. Members that would leave the destination "
                        "are refused.",
         .op = CSB_OP_UNZIP,
         .answer = Answer::kRun,
         .arguments = kUnzip,
         .read_only = false,
         .destructive = true,
         .idempotent = true,
         .open_world = false},
    Tool{.name = "start_process",
         .title = "Start a process",
         .description =
             "Starts a shell command in the background of the sandbox, for servers, long work and programs "
             "that read input, and returns a handle at once. It runs until it ends, is signalled, or the "
             "sandbox stops; the newest 8 MiB of its output are kept.",
         .op = CSB_OP_PROCESS_START,
         .answer = Answer::kProcess,
         .arguments = kStart,
         .read_only = false,
         .destructive = true,
         .idempotent = false,
         .open_world = false},
    Tool{.name = "process_output",
         .title = "See what a process printed",
         .description =
             "Returns what a process of a handle has printed from an offset on, stdout and stderr in their "
             "order, and whether it runs. Go on with offset = next_offset.",
         .op = CSB_OP_PROCESS_OUTPUT,
         .answer = Answer::kOutput,
         .arguments = kProcessOutput,
         .read_only = true,
         .destructive = false,
         .idempotent = true,
         .open_world = false},
    Tool{.name = "write_stdin",
         .title = "Write to a process",
         .description = "Sends text to the standard input of a process of a handle.",
         .op = CSB_OP_PROCESS_INPUT,
         .answer = Answer::kInput,
         .arguments = kStdin,
         .read_only = false,
         .destructive = true,
         .idempotent = false,
         .open_world = false},
    Tool{.name = "signal",
         .title = "Signal a process",
         .description = "Sends a signal to a process of a handle, as INT or TERM to end it.",
         .op = CSB_OP_PROCESS_SIGNAL,
         .answer = Answer::kProcess,
         .arguments = kSignal,
         .read_only = false,
         .destructive = true,
         .idempotent = false,
         .open_world = false},
    Tool{.name = "list_processes",
         .title = "List processes",
         .description =
             "Lists the processes and kept runs of the sandbox with their handles, running ones and those "
             "that ended lately.",
         .op = CSB_OP_PROCESS_LIST,
         .answer = Answer::kProcesses,
         .arguments = kOnlyUser,
         .read_only = true,
         .destructive = false,
         .idempotent = true,
         .open_world = false},
    Tool{.name = "wait",
         .title = "Wait for a process",
         .description = "Waits until a process of a handle ends, or until the time is up, which is no error.",
         .op = CSB_OP_PROCESS_WAIT,
         .answer = Answer::kProcess,
         .arguments = kWait,
         .read_only = true,
         .destructive = false,
         .idempotent = true,
         .open_world = false},
    Tool{.name = "read_output",
         .title = "Read the rest of an output",
         .description =
             "Returns a part of what a run or process of a handle has printed, such as the middle that an "
             "answer left out. Handles are kept for the last 64 runs that ended, while the sandbox runs.",
         .op = CSB_OP_PROCESS_OUTPUT,
         .answer = Answer::kOutput,
         .arguments = kReadOutput,
         .read_only = true,
         .destructive = false,
         .idempotent = true,
         .open_world = false},
    Tool{.name = "reset_python",
         .title = "Reset Python",
         .description =
             "Ends the interpreter of a context, with its variables; files stay. The next execute_python "
             "there begins anew.",
         .op = CSB_OP_CONTEXT_DELETE,
         .answer = Answer::kReset,
         .arguments = kReset,
         .read_only = false,
         .destructive = true,
         .idempotent = true,
         .open_world = false},
};

// What is false, or says nothing, is left out: some clients show their model this and not the text.
constexpr std::string_view kRunSchema =
    R"({"type":"object","properties":{)"
    R"("success":{"type":"boolean","description":"The exit code is 0"},)"
    R"("output":{"type":"string","description":"stdout and stderr in their order; a line says where some is omitted"},)"
    R"("exit_code":{"type":"integer"},)"
    R"("message":{"type":"string","description":"Why it was ended, if it was, and what to do"},)"
    R"("execution_time":{"type":"number","description":"Seconds, if it was one or more"},)"
    R"("timed_out":{"type":"boolean"},"oom_killed":{"type":"boolean"},)"
    R"("running":{"type":"boolean","description":"It goes on in the background"},)"
    R"("handle":{"type":"string","description":"For read_output, process_output, wait, signal"},)"
    R"("truncated":{"type":"boolean","description":"Output is missing"},)"
    R"("bytes":{"type":"integer","description":"Of all output, where it is not all here"}},)"
    R"("required":["success","output","exit_code"]})";
constexpr std::string_view kProcessSchema =
    R"({"type":"object","properties":{"handle":{"type":"string"},"state":{"type":"string","enum":["running","exited"]},)"
    R"("command":{"type":"string"},"exit_code":{"type":"integer"},"signal":{"type":"integer"},)"
    R"("cause":{"type":"string"},"message":{"type":"string"},"execution_time":{"type":"number"},)"
    R"("bytes":{"type":"integer","description":"Of all output so far"}},"required":["handle","state"]})";
constexpr std::string_view kProcessesSchema =
    R"({"type":"object","properties":{"processes":{"type":"array","items":{"type":"object","properties":{)"
    R"("handle":{"type":"string"},"state":{"type":"string"},"command":{"type":"string"}},)"
    R"("required":["handle","state"]}}},"required":["processes"]})";
constexpr std::string_view kOutputSchema =
    R"({"type":"object","properties":{"output":{"type":"string"},)"
    R"("offset":{"type":"integer","description":"Where output begins"},)"
    R"("next_offset":{"type":"integer","description":"Where to go on"},"bytes":{"type":"integer"},)"
    R"("state":{"type":"string","enum":["running","exited"]},"exit_code":{"type":"integer"}},)"
    R"("required":["output","offset","next_offset","bytes","state"]})";
constexpr std::string_view kInputSchema =
    R"({"type":"object","properties":{"written":{"type":"integer","description":"Bytes"}},"required":["written"]})";
constexpr std::string_view kResetSchema =
    R"({"type":"object","properties":{"status":{"type":"string","enum":["deleted","not_found"]}},)"
    R"("required":["status"]})";
constexpr std::string_view kWriteSchema =
    R"({"type":"object","properties":{"path":{"type":"string"},"size":{"type":"integer","description":"Bytes"}},)"
    R"("required":["path","size"]})";
constexpr std::string_view kListSchema =
    R"({"type":"object","properties":{"path":{"type":"string"},)"
    R"("entries":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},)"
    R"("type":{"type":"string","enum":["file","dir","link","fifo","socket","char","block"]},)"
    R"("size":{"type":"integer"},"mode":{"type":"string"},"mtime":{"type":"string"},"target":{"type":"string"}},)"
    R"("required":["name","type","size"]}},)"
    R"("truncated":{"type":"boolean","description":"There are more entries than these"}},)"
    R"("required":["path","entries","truncated"]})";

}  // namespace

std::span<const Tool> Tools() { return kTools; }

// None for what may answer with images, which have no place in structured content.
std::string_view OutputSchema(const Tool& tool) {
  if (tool.op == CSB_OP_EXECUTE) return {};
  switch (tool.answer) {
    case Answer::kRun:
      return kRunSchema;
    case Answer::kWrite:
      return kWriteSchema;
    case Answer::kList:
      return kListSchema;
    case Answer::kProcess:
      return kProcessSchema;
    case Answer::kProcesses:
      return kProcessesSchema;
    case Answer::kOutput:
      return kOutputSchema;
    case Answer::kInput:
      return kInputSchema;
    case Answer::kReset:
      return kResetSchema;
    case Answer::kRead:
      return {};
  }
  return {};
}

}  // namespace csb::mcp
