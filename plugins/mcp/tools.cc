// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/tools.h"

#include <array>
#include <cmath>
#include <optional>

#include "clara_sandbox/operation.h"

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

constexpr std::array kTools = {
    Tool{
        .name = "execute_python",
        .title = "Run Python",
        .description =
            "Runs Python 3 code in an isolated Linux sandbox and returns what it printed and its exit code. "
            "State is fresh for each call: every call is a new interpreter, variables and imports of earlier "
            "calls are gone. Files under /workspace and installed packages stay.",
        .op = CSB_OP_EXECUTE,
        .answer = Answer::kRun,
        .arguments = kPython,
        .read_only = false,
        .destructive = true,
        .idempotent = false,
        .open_world = false},
    Tool{.name = "run_shell",
         .title = "Run a shell command",
         .description = "Runs a shell command in an isolated Linux sandbox and returns its output and exit "
                        "code. Each call is "
                        "a new shell in /workspace: variables, the working directory and background "
                        "processes do not carry "
                        "over, files do.",
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
};

constexpr std::string_view kRunSchema =
    R"({"type":"object","properties":{)"
    R"("success":{"type":"boolean","description":"The exit code is 0"},)"
    R"("output":{"type":"string","description":"stdout; a line [… N bytes dropped …] stands where some is missing"},)"
    R"("error":{"type":["string","null"],"description":"stderr, after why the run was ended, if it was"},)"
    R"("exit_code":{"type":"integer"},)"
    R"("execution_time":{"type":"number","description":"Seconds"},)"
    R"("timed_out":{"type":"boolean"},"oom_killed":{"type":"boolean"},)"
    R"("truncated":{"type":"boolean","description":"Output is missing"},)"
    R"("stdout_bytes":{"type":"integer"},"stderr_bytes":{"type":"integer"}},)"
    R"("required":["success","output","error","exit_code","execution_time","timed_out","oom_killed","truncated",)"
    R"("stdout_bytes","stderr_bytes"]})";
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

// None for kRead: it may answer with an image, which has no place in structured content.
std::string_view OutputSchema(Answer answer) {
  switch (answer) {
    case Answer::kRun:
      return kRunSchema;
    case Answer::kWrite:
      return kWriteSchema;
    case Answer::kList:
      return kListSchema;
    case Answer::kRead:
      return {};
  }
  return {};
}

void WriteInputSchema(json::Writer& w, const Tool& tool) {
  w.StartObject();
  json::Member(w, "type", "object");
  json::Key(w, "properties");
  w.StartObject();
  for (const Argument& a : tool.arguments) {
    json::Key(w, a.name);
    w.StartObject();
    json::Member(w, "type", a.type);
    json::Member(w, "description", a.description);
    w.EndObject();
  }
  w.EndObject();
  json::Key(w, "required");
  w.StartArray();
  for (const Argument& a : tool.arguments)
    if (a.required) json::String(w, a.name);
  w.EndArray();
  w.EndObject();
}

void WriteTool(json::Writer& w, const Tool& tool, const Revision& revision) {
  w.StartObject();
  json::Member(w, "name", tool.name);
  if (revision.titles) json::Member(w, "title", tool.title);
  json::Member(w, "description", tool.description);
  json::Key(w, "inputSchema");
  WriteInputSchema(w, tool);
  const std::string_view output = OutputSchema(tool.answer);
  if (revision.structured_content && !output.empty()) {
    json::Key(w, "outputSchema");
    w.RawValue(output.data(), output.size(), rapidjson::kObjectType);
  }
  if (revision.annotations) {
    json::Key(w, "annotations");
    w.StartObject();
    json::Member(w, "title", tool.title);
    json::Member(w, "readOnlyHint", tool.read_only);
    json::Member(w, "destructiveHint", tool.destructive);
    json::Member(w, "idempotentHint", tool.idempotent);
    json::Member(w, "openWorldHint", tool.open_world);
    w.EndObject();
  }
  w.EndObject();
}

// The argument by its name, else by the first other name that is there.
const json::Value* FindArgument(const json::Value* arguments, const Argument& argument) {
  if (arguments == nullptr) return nullptr;
  if (const json::Value* v = json::Find(*arguments, argument.name)) return v;
  for (std::string_view rest = argument.aliases; !rest.empty();) {
    const std::string_view alias = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), alias.size() + 1));
    if (const json::Value* v = json::Find(*arguments, alias)) return v;
  }
  return nullptr;
}

// An integer as JSON Schema has it: 1000.0 is one too, and some clients write all numbers like that.
std::optional<int64_t> Whole(const json::Value& v) {
  if (v.IsInt64()) return v.GetInt64();
  constexpr double kExact = 9007199254740992;  // 2^53
  if (!v.IsDouble() || std::abs(v.GetDouble()) > kExact || std::trunc(v.GetDouble()) != v.GetDouble())
    return std::nullopt;
  return static_cast<int64_t>(v.GetDouble());
}

Error Bad(std::string_view argument, std::string_view what) {
  return {CSB_E_INVALID, std::string(argument) + ": " + std::string(what), "", false};
}

}  // namespace

std::span<const Tool> Tools() { return kTools; }

const Tool* FindTool(std::string_view name) {
  for (const Tool& tool : kTools)
    if (tool.name == name) return &tool;
  return nullptr;
}

std::string ToolList(const Revision& revision) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "tools");
  w.StartArray();
  for (const Tool& tool : kTools) WriteTool(w, tool, revision);
  w.EndArray();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

Result<ToolRequest> MakeRequest(const Tool& tool, const json::Value* arguments, const ToolOptions& options) {
  ToolRequest request{.user = options.user};
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  for (const Argument& a : tool.arguments) {
    const json::Value* v = FindArgument(arguments, a);
    if (v == nullptr) {
      if (a.required) return Bad(a.name, "is required");
      continue;
    }
    // Which string or number is good is the service's to say, for every frontend alike.
    if (a.type == "string" && !v->IsString()) return Bad(a.name, "a string is expected");
    if (a.type == "number" && !v->IsNumber()) return Bad(a.name, "a number is expected");
    const auto whole = a.type == "integer" ? Whole(*v) : std::nullopt;
    if (a.type == "integer" && !whole) return Bad(a.name, "an integer is expected");
    if (a.name == kUser.name) {
      request.user.assign(v->GetString(), v->GetStringLength());
    } else if (a.name == "content") {
      request.content.assign(v->GetString(), v->GetStringLength());
    } else if (whole) {
      json::Member(w, a.name, *whole);
    } else {
      json::Key(w, a.name);
      v->Accept(w);
    }
  }
  if (options.only && request.user != options.user)
    return Error{CSB_E_FORBIDDEN, "user_id: this server serves " + options.user + " only",
                 "leave user_id out", false};
  if (tool.answer == Answer::kRun) {
    json::Key(w, "output");
    w.StartObject();
    json::Member(w, "head", static_cast<uint64_t>(options.max_output / 2));
    json::Member(w, "tail", static_cast<uint64_t>(options.max_output - options.max_output / 2));
    w.EndObject();
  }
  w.EndObject();
  request.payload.assign(buffer.GetString(), buffer.GetSize());
  return request;
}

}  // namespace csb::mcp
