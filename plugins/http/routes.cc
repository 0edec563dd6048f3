// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/routes.h"

#include <optional>

#include "clara_sandbox/operation.h"

namespace csb::http {
namespace {

constexpr char kText[] = R"({"type":"string"})";
constexpr char kPath[] = R"({"type":"string","minLength":1,"maxLength":4096})";
constexpr char kBool[] = R"({"type":"boolean","default":false})";
constexpr char kOutput[] =
    R"({"type":"object","properties":{"head":{"type":"integer","minimum":0},"tail":{"type":"integer","minimum":0}}})";
constexpr char kEncoding[] = R"({"type":"string","enum":["utf-8","base64"],"default":"utf-8"})";
constexpr char kEnvironment[] = R"({"type":"object","additionalProperties":{"type":"string"}})";
#define CSB_TIMEOUT(seconds) R"({"type":"number","exclusiveMinimum":0,"default":)" #seconds "}"

constexpr char kTimeoutDoc[] =
    "Seconds until everything it started is killed. The service's largest, 300 unless configured, may not be "
    "exceeded.";
constexpr char kOutputDoc[] =
    "Bytes kept of the start and of the end of stdout and of stderr, each; what lies between is counted and "
    "dropped.";
constexpr char kEncodingDoc[] =
    "How stdout and stderr stand in a streamed answer: as text, or with `base64` as the exact bytes.";
constexpr char kStdinEncodingDoc[] = "How `stdin` stands for bytes.";

constexpr char kName[] = R"({"type":"string","pattern":"^[A-Za-z0-9_.-]{1,64}$"})";
constexpr Field kCreate[] = {
    {"image", In::kBody, false, kText, "Image to make the sandbox from, where the backend has images."},
    {"memory_limit", In::kBody, false, R"({"type":["string","integer"],"examples":["512m"]})",
     "Memory limit: bytes, or text like `512m`."},
    {"cpu_limit", In::kBody, false, R"({"type":"number","exclusiveMinimum":0})", "Cores."},
    {"backend", In::kBody, false, kText,
     "Backend of a new sandbox, where the operator allows the choice; else 403."},
};
constexpr Field kExecute[] = {
    {"code", In::kBody, true, R"({"type":"string","maxLength":8388608})", "Python source."},
    {"description", In::kBody, false, kText, "What the code is for; kept in logs only."},
    {"timeout", In::kBody, false, CSB_TIMEOUT(30), kTimeoutDoc},
    {"stdin", In::kBody, false, kText, "Standard input; without it there is none."},
    {"stdin_encoding", In::kBody, false, kEncoding, kStdinEncodingDoc},
    {"args", In::kBody, false, R"({"type":"array","items":{"type":"string"}})", "`sys.argv[1:]`."},
    {"context", In::kBody, false, kName,
     "Run in the user's interpreter of this name, which keeps variables, imports and open files."},
    {"results", In::kBody, false, kBool,
     "Answer what the code shows (figures, tables, the last expression's value) in `results`; on in a "
     "context."},
    {"cwd", In::kBody, false, kPath, "Folder to start in; `/workspace` by default."},
    {"env", In::kBody, false, kEnvironment, "Environment variables to add."},
    {"keep", In::kBody, false, kBool, "Keep the output, to be read by `handle` after the end."},
    {"yield_after", In::kBody, false, R"({"type":"number","exclusiveMinimum":0})",
     "Seconds after which a run that goes on is answered with what it printed so far, and a `handle`."},
    {"output", In::kBody, false, kOutput, kOutputDoc},
    {"max_output", In::kBody, false, R"({"type":"integer","minimum":256,"maximum":16777216})",
     "Answer both streams as one text of at most so many bytes, start and end, as a model reads it; the rest "
     "is "
     "kept under `handle`."},
    {"encoding", In::kBody, false, kEncoding, kEncodingDoc},
};
constexpr Field kShell[] = {
    {"command", In::kBody, true, R"({"type":"string","maxLength":131072})", "Run by `sh -c`."},
    {"timeout", In::kBody, false, CSB_TIMEOUT(60), kTimeoutDoc},
    {"stdin", In::kBody, false, kText, "Standard input; without it there is none."},
    {"stdin_encoding", In::kBody, false, kEncoding, kStdinEncodingDoc},
    {"cwd", In::kBody, false, kPath, "Folder to start in; `/workspace` by default."},
    {"env", In::kBody, false, kEnvironment, "Environment variables to add."},
    {"keep", In::kBody, false, kBool, "Keep the output, to be read by `handle` after the end."},
    {"yield_after", In::kBody, false, R"({"type":"number","exclusiveMinimum":0})",
     "Seconds after which a run that goes on is answered with what it printed so far, and a `handle`."},
    {"output", In::kBody, false, kOutput, kOutputDoc},
    {"max_output", In::kBody, false, R"({"type":"integer","minimum":256,"maximum":16777216})",
     "Answer both streams as one text of at most so many bytes, start and end, as a model reads it; the rest "
     "is "
     "kept under `handle`."},
    {"encoding", In::kBody, false, kEncoding, kEncodingDoc},
};
constexpr Field kExec[] = {
    {"argv", In::kBody, true, R"({"type":"array","minItems":1,"maxItems":4096,"items":{"type":"string"}})",
     "The program, found in PATH, and its arguments."},
    {"timeout", In::kBody, false, CSB_TIMEOUT(60), kTimeoutDoc},
    {"stdin", In::kBody, false, kText, "Standard input; without it there is none."},
    {"stdin_encoding", In::kBody, false, kEncoding, kStdinEncodingDoc},
    {"cwd", In::kBody, false, kPath, "Folder to start in; `/workspace` by default."},
    {"env", In::kBody, false, kEnvironment, "Environment variables to add."},
    {"keep", In::kBody, false, kBool, "Keep the output, to be read by `handle` after the end."},
    {"yield_after", In::kBody, false, R"({"type":"number","exclusiveMinimum":0})",
     "Seconds after which a run that goes on is answered with what it printed so far, and a `handle`."},
    {"output", In::kBody, false, kOutput, kOutputDoc},
    {"max_output", In::kBody, false, R"({"type":"integer","minimum":256,"maximum":16777216})",
     "Answer both streams as one text of at most so many bytes, start and end, as a model reads it; the rest "
     "is "
     "kept under `handle`."},
    {"encoding", In::kBody, false, kEncoding, kEncodingDoc},
};
constexpr Field kPipInstall[] = {
    {"package", In::kBody, true, kText,
     "One requirement, like `numpy>=2`, or the path of a wheel in the sandbox."},
    {"timeout", In::kBody, false, CSB_TIMEOUT(120), kTimeoutDoc},
    {"max_output", In::kBody, false, R"({"type":"integer","minimum":256,"maximum":16777216})",
     "Answer both streams as one text of at most so many bytes, start and end, as a model reads it; the rest "
     "is "
     "kept under `handle`."},
    {"encoding", In::kBody, false, kEncoding, kEncodingDoc},
};
constexpr Field kPipList[] = {{"encoding", In::kQuery, false, kEncoding, kEncodingDoc}};
constexpr Field kFileList[] = {
    {"path", In::kQuery, false, R"({"type":"string","default":"/workspace"})", "Folder."},
    {"limit", In::kQuery, false, R"({"type":"integer","minimum":1})", "Most entries to list."},
};
constexpr Field kFileRead[] = {
    {"path", In::kQuery, true, kPath, "File; a relative path is under `/workspace`."}};
constexpr Field kFileStat[] = {
    {"path", In::kQuery, true, kPath, "Of any type; a link itself, not what it leads to."}};
constexpr Field kFileWrite[] = {
    {"path", In::kBody, true, kPath, "File; missing parent folders are made."},
    {"content", In::kBody, true, kText, "What to write."},
    {"encoding", In::kBody, false, kEncoding, "How `content` stands for bytes."},
    {"mode", In::kBody, false, R"({"type":"string","pattern":"^[0-7]{3,4}$"})", "Permissions, octal."},
};
constexpr Field kFileDelete[] = {
    {"path", In::kQuery, true, kPath, "File or folder."},
    {"recursive", In::kQuery, false, kBool, "Delete a folder with all it has."},
};
constexpr Field kUnzip[] = {
    {"path", In::kBody, true, kPath, "Archive: zip, tar, and those compressed by gz, bz2, xz, zst."},
    {"destination", In::kBody, false, kPath,
     "Folder to unpack into, made if missing; the archive's own by default."},
    {"timeout", In::kBody, false, CSB_TIMEOUT(120), kTimeoutDoc},
    {"encoding", In::kBody, false, kEncoding, kEncodingDoc},
};
constexpr char kSeconds[] = R"({"type":"number","minimum":0})";
constexpr char kHandleDoc[] = "The handle that the start answered.";
constexpr char kHandle[] = R"({"type":"string","pattern":"^[A-Za-z0-9_.-]{1,64}$"})";
constexpr Field kProcessStart[] = {
    {"command", In::kBody, false, R"({"type":"string","maxLength":131072})", "Run by `sh -c`; or `argv`."},
    {"argv", In::kBody, false, R"({"type":"array","minItems":1,"maxItems":4096,"items":{"type":"string"}})",
     "A program and its arguments, without a shell."},
    {"cwd", In::kBody, false, kPath, "Folder to start in; `/workspace` by default."},
    {"env", In::kBody, false, kEnvironment, "Environment variables to add."},
    {"timeout", In::kBody, false, kSeconds, "Seconds after which it is ended; without it there is no limit."},
    {"terminal", In::kBody, false,
     R"({"type":"object","properties":{"rows":{"type":"integer"},"cols":{"type":"integer"},"term":{"type":"string"}}})",
     "Give it a terminal of this size."},
    {"input", In::kBody, false, R"({"type":"boolean","default":true})", "Whether its stdin stays open."},
};
constexpr Field kProcess[] = {{"handle", In::kPath, true, kHandle, kHandleDoc}};
constexpr Field kProcessOutput[] = {
    {"handle", In::kPath, true, kHandle, kHandleDoc},
    {"offset", In::kQuery, false, R"({"type":"integer","default":0})",
     "Of the first byte wanted, both streams counted; negative: from the end."},
    {"limit", In::kQuery, false, R"({"type":"integer","minimum":1,"maximum":8388608,"default":30000})",
     "Most bytes."},
    {"wait", In::kQuery, false, R"({"type":"integer","minimum":0,"maximum":300})",
     "Seconds to wait when there is nothing beyond the offset."},
    {"encoding", In::kQuery, false, kEncoding, "How `output` stands for bytes."},
};
constexpr Field kProcessInput[] = {
    {"handle", In::kPath, true, kHandle, kHandleDoc},
    {"content", In::kBody, true, kText, "What to write to its stdin; may be empty, to close it with `eof`."},
    {"encoding", In::kBody, false, kEncoding, "How `content` stands for bytes."},
    {"eof", In::kBody, false, kBool, "Close its stdin then."},
};
constexpr Field kProcessSignal[] = {
    {"handle", In::kPath, true, kHandle, kHandleDoc},
    {"signal", In::kBody, true, R"({"type":["string","integer"],"examples":["INT","TERM","KILL"]})",
     "Name or number. KILL ends everything that it started, too."},
};
constexpr Field kProcessWait[] = {
    {"handle", In::kPath, true, kHandle, kHandleDoc},
    {"timeout", In::kBody, false, R"({"type":"number","minimum":0,"maximum":300,"default":30})",
     "Seconds to wait; if it runs then, `state` says so."},
};
constexpr Field kProcessResize[] = {
    {"handle", In::kPath, true, kHandle, kHandleDoc},
    {"rows", In::kBody, true, R"({"type":"integer","minimum":1,"maximum":10000})", "Lines."},
    {"cols", In::kBody, true, R"({"type":"integer","minimum":1,"maximum":10000})", "Columns."},
};
constexpr Field kTerminal[] = {
    {"rows", In::kQuery, false, R"({"type":"integer","minimum":1,"maximum":10000,"default":24})", "Lines."},
    {"cols", In::kQuery, false, R"({"type":"integer","minimum":1,"maximum":10000,"default":80})", "Columns."},
    {"command", In::kQuery, false, kText, "What to run in it; a shell by default."},
    {"handle", In::kQuery, false, kHandle, "Of a process with a terminal to join instead of starting one."},
    {"keep", In::kQuery, false, kBool, "Leave the process when the connection is lost, to be joined again."},
};
constexpr Field kContext[] = {{"name", In::kPath, true, kName, "Name of the context."}};
constexpr Field kDestroy[] = {{"purge", In::kQuery, false, kBool, "Remove the files too."}};

constexpr Route kRoutes[] = {
    {"POST", "/sandbox/{user_id}/create", "create", CSB_OP_CREATE, Answer::kResult, Access::kKey, "sandbox",
     "SandboxInfo", "Make the sandbox",
     "Makes the user's sandbox, or returns the one that lives. Not needed before "
     "other calls: they make it on first use. 409 when it lives with other limits.",
     kCreate},
    {"POST", "/sandbox/{user_id}/execute", "execute", CSB_OP_EXECUTE, Answer::kExecution, Access::kKey, "run",
     "Execution", "Run Python", "In a fresh interpreter, or with `context` in one that keeps its state.",
     kExecute},
    {"POST", "/sandbox/{user_id}/shell", "shell", CSB_OP_SHELL, Answer::kExecution, Access::kKey, "run",
     "Execution", "Run a shell command", "", kShell},
    {"POST", "/sandbox/{user_id}/exec", "exec", CSB_OP_EXEC, Answer::kExecution, Access::kKey, "run",
     "Execution", "Run a program", "An argument vector, without a shell.", kExec},
    {"POST", "/sandbox/{user_id}/pip/install", "pip_install", CSB_OP_PIP_INSTALL, Answer::kExecution,
     Access::kKey, "run", "Execution", "Install a Python package",
     "Into the workspace: it outlives the sandbox.", kPipInstall},
    {"GET", "/sandbox/{user_id}/pip/list", "pip_list", CSB_OP_PIP_LIST, Answer::kExecution, Access::kKey,
     "run", "Execution", "List Python packages", "", kPipList},
    {"POST", "/sandbox/{user_id}/processes", "process_start", CSB_OP_PROCESS_START, Answer::kResult,
     Access::kKey, "processes", "Process", "Start a program in the background",
     "It outlives the request, and a restart of the service; it ends with the sandbox.", kProcessStart},
    {"GET",
     "/sandbox/{user_id}/processes",
     "process_list",
     CSB_OP_PROCESS_LIST,
     Answer::kResult,
     Access::kKey,
     "processes",
     "Processes",
     "List the programs in the background",
     "Those that run, and the last that have ended. Makes no sandbox.",
     {}},
    {"GET", "/sandbox/{user_id}/processes/{handle}", "process_get", CSB_OP_PROCESS_WAIT, Answer::kProcess,
     Access::kKey, "processes", "Process", "Tell about a program", "", kProcess},
    {"DELETE", "/sandbox/{user_id}/processes/{handle}", "process_remove", CSB_OP_PROCESS_REMOVE,
     Answer::kResult, Access::kKey, "processes", "Deleted", "End a program and forget its output", "",
     kProcess},
    {"GET", "/sandbox/{user_id}/processes/{handle}/output", "process_output", CSB_OP_PROCESS_OUTPUT,
     Answer::kProcessOutput, Access::kKey, "processes", "ProcessOutput", "Read what a program printed",
     "Both streams in the order in which they came. With `Accept: text/event-stream` or "
     "`application/x-ndjson` live, until it ends.",
     kProcessOutput},
    {"POST", "/sandbox/{user_id}/processes/{handle}/input", "process_input", CSB_OP_PROCESS_INPUT,
     Answer::kProcessInput, Access::kKey, "processes", "Written", "Write to a program's stdin", "",
     kProcessInput},
    {"POST", "/sandbox/{user_id}/processes/{handle}/signal", "process_signal", CSB_OP_PROCESS_SIGNAL,
     Answer::kResult, Access::kKey, "processes", "Process", "Send a program a signal", "", kProcessSignal},
    {"POST", "/sandbox/{user_id}/processes/{handle}/wait", "process_wait", CSB_OP_PROCESS_WAIT,
     Answer::kResult, Access::kKey, "processes", "Process", "Wait for a program's end", "", kProcessWait},
    {"POST", "/sandbox/{user_id}/processes/{handle}/resize", "process_resize", CSB_OP_PROCESS_RESIZE,
     Answer::kResult, Access::kKey, "processes", "Nothing", "Size a program's terminal", "", kProcessResize},
    {"GET", "/sandbox/{user_id}/terminal", "terminal", CSB_OP_PROCESS_ATTACH, Answer::kTerminal, Access::kKey,
     "processes", "", "Open a terminal",
     "A WebSocket (RFC 6455). Binary messages are bytes both ways; text messages are JSON: "
     "`{\"type\":\"resize\",\"rows\":R,\"cols\":C}` and `{\"type\":\"signal\",\"signal\":\"INT\"}` from the "
     "client, "
     "`{\"type\":\"exit\",\"exit_code\":N}` last from the server.",
     kTerminal},
    {"GET",
     "/sandbox/{user_id}/contexts",
     "context_list",
     CSB_OP_CONTEXT_LIST,
     Answer::kResult,
     Access::kKey,
     "run",
     "Contexts",
     "List the contexts",
     "Interpreters that keep their state between executions. Makes no sandbox.",
     {}},
    {"GET", "/sandbox/{user_id}/contexts/{name}", "context_get", CSB_OP_CONTEXT_LIST, Answer::kContext,
     Access::kKey, "run", "Context", "Tell about a context", "404 when there is none of that name.",
     kContext},
    {"DELETE", "/sandbox/{user_id}/contexts/{name}", "context_delete", CSB_OP_CONTEXT_DELETE, Answer::kResult,
     Access::kKey, "run", "Deleted", "End a context", "The next execution of that name starts a fresh one.",
     kContext},
    {"GET", "/sandbox/{user_id}/files", "file_list", CSB_OP_FILE_LIST, Answer::kFileList, Access::kKey,
     "files", "FileList", "List a folder", "", kFileList},
    {"GET", "/sandbox/{user_id}/file", "file_read", CSB_OP_FILE_READ, Answer::kFileRead, Access::kKey,
     "files", "FileContent", "Read a file",
     "With `Accept: application/octet-stream` the raw bytes, of any size, with Range.", kFileRead},
    {"GET", "/sandbox/{user_id}/stat", "file_stat", CSB_OP_FILE_STAT, Answer::kResult, Access::kKey, "files",
     "FileEntry", "Tell about a file", "Type, size, permissions and time of one path.", kFileStat},
    {"POST", "/sandbox/{user_id}/file", "file_write", CSB_OP_FILE_WRITE, Answer::kFileWrite, Access::kKey,
     "files", "Execution", "Write a file",
     "Atomic. As JSON, or the raw bytes with another Content-Type and `?path=`.", kFileWrite},
    {"DELETE", "/sandbox/{user_id}/file", "file_delete", CSB_OP_FILE_DELETE, Answer::kFileDelete,
     Access::kKey, "files", "Execution", "Delete a file", "", kFileDelete},
    {"POST", "/sandbox/{user_id}/unzip", "unzip", CSB_OP_UNZIP, Answer::kExecution, Access::kKey, "files",
     "Unpacked", "Unpack an archive", "Members that would leave the destination are refused.", kUnzip},
    {"GET",
     "/sandbox/{user_id}/status",
     "status",
     CSB_OP_STATUS,
     Answer::kResult,
     Access::kKey,
     "sandbox",
     "SandboxInfo",
     "Tell about the sandbox",
     "404 when the user has none; makes none.",
     {}},
    {"POST",
     "/sandbox/{user_id}/stop",
     "stop",
     CSB_OP_STOP,
     Answer::kResult,
     Access::kKey,
     "sandbox",
     "Stopped",
     "Stop the sandbox",
     "Ends its processes and keeps its files.",
     {}},
    {"POST",
     "/sandbox/{user_id}/restart",
     "restart",
     CSB_OP_RESTART,
     Answer::kResult,
     Access::kKey,
     "sandbox",
     "SandboxInfo",
     "Restart the sandbox",
     "",
     {}},
    {"DELETE", "/sandbox/{user_id}/destroy", "destroy", CSB_OP_DESTROY, Answer::kResult, Access::kKey,
     "sandbox", "Destroyed", "Remove the sandbox", "Its files stay unless `purge` is true.", kDestroy},
    {"DELETE", "/sandbox/{user_id}", "delete", CSB_OP_DESTROY, Answer::kResult, Access::kKey, "sandbox",
     "Destroyed", "Remove the sandbox", "The same as `/destroy`.", kDestroy},
    {"GET",
     "/health",
     "health",
     CSB_OP_HEALTH,
     Answer::kHealth,
     Access::kOpen,
     "service",
     "Health",
     "Tell whether the service works",
     "Needs no key; never waits for a backend. 503 when unhealthy.",
     {}},
    {"GET",
     "/info",
     "info",
     CSB_OP_INFO,
     Answer::kResult,
     Access::kKey,
     "service",
     "Info",
     "Tell about the service",
     "",
     {}},
    {"GET",
     "/sandboxes",
     "sandboxes",
     CSB_OP_LIST,
     Answer::kResult,
     Access::kOperator,
     "service",
     "SandboxList",
     "List the sandboxes of all users",
     "Refused to keys that are bound to users.",
     {}},
    {"GET",
     "/metrics",
     "metrics",
     CSB_OP_METRICS,
     Answer::kText,
     Access::kOperator,
     "service",
     "",
     "Metrics as Prometheus text",
     "Refused to keys that are bound to users.",
     {}},
    {"GET",
     "/openapi.json",
     "openapi",
     0,
     Answer::kOpenApi,
     Access::kDocument,
     "service",
     "",
     "This description",
     "",
     {}},
    {"GET",
     "/docs",
     "docs",
     0,
     Answer::kDocs,
     Access::kDocument,
     "service",
     "",
     "This description as a page",
     "Browsers may send the key as the password of HTTP Basic.",
     {}},
};

// The user id when the path fits the template; "" when the template has none.
std::optional<std::string_view> Fit(std::string_view path, const std::vector<std::string>& segments) {
  std::string_view user;
  size_t i = 0;
  for (path.remove_prefix(1);; ++i) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (i >= segments.size()) return std::nullopt;
    if (part == "{user_id}")
      user = segments[i];
    else if (part.front() == '{')
      ;  // PathParameter finds it
    else if (part != segments[i])
      return std::nullopt;
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  if (i + 1 != segments.size()) return std::nullopt;
  return user;
}

}  // namespace

std::span<const Route> Routes() { return kRoutes; }

std::string_view PathParameter(const Route& route, const std::vector<std::string>& segments,
                               std::string_view name) {
  const std::string wanted = "{" + std::string(name) + "}";
  std::string_view path = route.path;
  for (size_t i = 0; !path.empty(); ++i) {
    path.remove_prefix(1);
    const std::string_view part = path.substr(0, path.find('/'));
    if (part == wanted && i < segments.size()) return segments[i];
    path.remove_prefix(part.size());
  }
  return {};
}

Match FindRoute(std::string_view method, const std::vector<std::string>& segments) {
  Match match;
  for (const Route& route : kRoutes) {
    const auto user = Fit(route.path, segments);
    if (!user) continue;
    if (method == route.method || (method == "HEAD" && std::string_view(route.method) == "GET")) {
      match.route = &route;
      match.user = std::string(*user);
      match.allow.clear();
      return match;
    }
    match.allow += std::string(route.method) + ", ";
    if (std::string_view(route.method) == "GET") match.allow += "HEAD, ";
  }
  if (!match.allow.empty()) match.allow += "OPTIONS";
  return match;
}

}  // namespace csb::http
