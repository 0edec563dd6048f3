// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/mapping.h"

#include <cmath>
#include <initializer_list>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/operations.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/base64.h"

namespace csb::remote {
namespace {

constexpr char kBytes[] = "application/octet-stream";

Error Lacks(std::string_view what, std::string hint = "") {
  if (hint.empty()) hint = "`clara-sandbox explain` lists what that service offers";
  return {CSB_E_UNSUPPORTED, "the remote sandbox service takes no " + std::string(what), std::move(hint),
          false};
}

const char* TailOf(uint32_t op) {
  switch (op) {
    case CSB_OP_CREATE:
      return "/create";
    case CSB_OP_STATUS:
      return "/status";
    case CSB_OP_STOP:
      return "/stop";
    case CSB_OP_RESTART:
      return "/restart";
    case CSB_OP_DESTROY:
      return "/destroy";
    case CSB_OP_EXECUTE:
      return "/execute";
    case CSB_OP_SHELL:
      return "/shell";
    case CSB_OP_EXEC:
      return "/exec";
    case CSB_OP_PIP_INSTALL:
      return "/pip/install";
    case CSB_OP_PIP_LIST:
      return "/pip/list";
    case CSB_OP_FILE_LIST:
      return "/files";
    case CSB_OP_FILE_STAT:
      return "/stat";
    case CSB_OP_UNZIP:
      return "/unzip";
    default:
      return "/file";
  }
}

// What each run hands on of its payload. Members that a service knows nothing of are refused before.
std::initializer_list<const char*> MembersOf(uint32_t op) {
  static constexpr std::initializer_list<const char*> kExecute = {
      "code",   "description", "args",    "cwd",  "env",        "timeout",
      "output", "context",     "results", "keep", "yield_after"};
  static constexpr std::initializer_list<const char*> kShell = {"command", "argv",   "cwd",  "env",
                                                                "timeout", "output", "keep", "yield_after"};
  static constexpr std::initializer_list<const char*> kPip = {"package", "timeout", "output"};
  static constexpr std::initializer_list<const char*> kUnzip = {"path",      "destination", "timeout",
                                                                "max_bytes", "max_entries", "output"};
  switch (op) {
    case CSB_OP_EXECUTE:
      return kExecute;
    case CSB_OP_SHELL:
    case CSB_OP_EXEC:
      return kShell;
    case CSB_OP_PIP_INSTALL:
      return kPip;
    default:
      return kUnzip;
  }
}

// For sh: one word, whatever is in it.
std::string Quoted(std::string_view word) {
  std::string out = "'";
  for (const char c : word) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

Result<std::string> AsCommand(const json::Value& payload) {
  const json::Value* argv = json::Find(payload, "argv");
  if (argv == nullptr || !argv->IsArray()) return Error{CSB_E_INVALID, "argv: is missing", "", false};
  std::string command = "exec";
  for (const json::Value& word : argv->GetArray()) {
    if (!word.IsString()) return Error{CSB_E_INVALID, "argv: must be strings", "", false};
    command += ' ' + Quoted({word.GetString(), word.GetStringLength()});
  }
  return command;
}

Status CheckRun(const json::Value& payload, const Peer& peer) {
  const auto given = [&](const char* name) {
    const json::Value* value = json::Find(payload, name);
    return value != nullptr && !(value->IsArray() && value->Empty()) &&
           !(value->IsObject() && value->ObjectEmpty());
  };
  if (given("args") && !peer.arguments) return Lacks("arguments of programs (args)");
  if (given("cwd") && !peer.folder) return Lacks("folder to start in (cwd)", "begin the command with cd");
  if (given("env") && !peer.environment) return Lacks("environment variables (env)", "set them in the code");
  return {};
}

Result<std::string> RunBody(const Request& request, const Peer& peer, const std::optional<std::string>& input,
                            double left) {
  auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  if (Status s = CheckRun(*payload, peer); !s) return s.error();
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  for (const char* name : MembersOf(request.op)) {
    const json::Value* value = json::Find(*payload, name);
    if (value == nullptr || (std::string_view(name) == "output" && !peer.bound)) continue;
    if (std::string_view(name) == "argv" && !peer.exec) continue;
    // Without them the run begins anew, and its result says that (run_operation.cc).
    if ((std::string_view(name) == "context" || std::string_view(name) == "results") && !peer.contexts)
      continue;
    // Of a run that goes on there, or of its output, nobody here could see more.
    if ((std::string_view(name) == "keep" || std::string_view(name) == "yield_after") && !peer.processes)
      continue;
    // Others than ours count in whole seconds; the host's own deadline holds all the same.
    if (std::string_view(name) == "timeout" && !peer.exact && value->IsNumber()) {
      json::Member(w, name, static_cast<int64_t>(std::ceil(value->GetDouble())));
      continue;
    }
    json::Key(w, name);
    value->Accept(w);
  }
  if (request.op == CSB_OP_EXEC && !peer.exec) {
    auto command = AsCommand(*payload);
    if (!command) return command.error();
    json::Member(w, "command", std::string_view(*command));
  }
  // Without any it has none there either.
  if (input && !input->empty()) {
    if (!peer.input) return Lacks("standard input", "write it to a file first");
    const bool text = utf8::Valid(*input) && input->find('\0') == std::string::npos;
    if (!text && !peer.exact) return Lacks("standard input that is not text", "write it to a file first");
    json::Member(w, "stdin", std::string_view(text ? *input : base64::Encode(*input)));
    if (!text) json::Member(w, "stdin_encoding", "base64");
  } else if (input && peer.input) {
    json::Member(w, "stdin", "");
  }
  // Up to a full second, as whoever waits would have written it; services that count in whole ones take no
  // other.
  if (left > 0 && json::Find(*payload, "timeout") == nullptr)
    json::Member(w, "timeout", static_cast<int64_t>(std::ceil(left)));
  if (peer.exact) json::Member(w, "encoding", "base64");
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize());
}

// Memory as text, which every service reads; the name of this host's backend stays here.
Result<std::string> CreateBody(const Request& request) {
  const auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  if (const auto image = json::GetString(*payload, "image")) json::Member(w, "image", *image);
  if (const auto memory = json::GetInt(*payload, "memory_limit")) {
    constexpr int64_t kMega = 1 << 20;
    const std::string text =
        *memory % kMega == 0 ? std::to_string(*memory / kMega) + "m" : std::to_string(*memory);
    json::Member(w, "memory_limit", std::string_view(text));
  }
  if (const auto cpu = json::GetNumber(*payload, "cpu_limit")) json::Member(w, "cpu_limit", *cpu);
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize());
}

// The folder and the name of it that a path ends with.
std::string ParentOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return "/workspace";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

Result<Mapped> MapFiles(const Request& request, const Peer& peer) {
  const auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  const std::string path(json::GetString(*payload, "path").value_or("/workspace"));
  Mapped out;
  out.harmless = true;
  std::string tail = TailOf(request.op);
  if (request.op == CSB_OP_FILE_STAT && !peer.stat)
    tail = "/files?path=" + UrlEscape(ParentOf(path));
  else
    tail += "?path=" + UrlEscape(path);
  if (request.op == CSB_OP_FILE_LIST && peer.entries)
    if (const auto limit = json::GetInt(*payload, "limit")) tail += "&limit=" + std::to_string(*limit);
  if (request.op == CSB_OP_FILE_DELETE) {
    out.http.method = "DELETE";
    out.harmless = false;  // a second one finds nothing
    if (json::GetBool(*payload, "recursive").value_or(false)) {
      if (!peer.recursive) return Lacks("deletion of folders (recursive)", "use a shell command");
      tail += "&recursive=true";
    }
  }
  out.http.target = UserTarget(request.user, tail);
  return out;
}

}  // namespace

bool IsRun(uint32_t op) { return (op >= CSB_OP_EXECUTE && op <= CSB_OP_PIP_LIST) || op == CSB_OP_UNZIP; }

std::string Segment(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '.' ? "%2E" : UrlEscape(std::string_view(&c, 1));
  return out;
}

std::string UserTarget(std::string_view user, std::string_view tail) {
  // As a segment of a path these two mean something else to what stands in between.
  const std::string id = user == "." ? "%2E" : user == ".." ? "%2E%2E" : UrlEscape(user);
  return "/sandbox/" + id + std::string(tail);
}

Result<Mapped> Map(const Request& request, const Peer& peer, const std::optional<std::string>& input,
                   double left) {
  Mapped out;
  if (IsRun(request.op)) {
    out.streamed = peer.events;
    std::string tail = request.op == CSB_OP_EXEC && !peer.exec ? "/shell" : TailOf(request.op);
    if (request.op == CSB_OP_PIP_LIST) {
      out.harmless = true;
      if (peer.exact) tail += "?encoding=base64";
    } else {
      out.http.method = "POST";
      auto body = RunBody(request, peer, input, left);
      if (!body) return body.error();
      out.http.body = *std::move(body);
    }
    out.http.target = UserTarget(request.user, tail);
    out.http.headers.emplace_back(out.streamed ? "Accept: text/event-stream" : "Accept: application/json");
    return out;
  }
  if (IsProcess(request.op)) return MapProcess(request, peer);
  if (request.op >= CSB_OP_FILE_READ) return MapFiles(request, peer);
  out.http.target = UserTarget(request.user, TailOf(request.op));
  out.harmless = true;
  const auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  switch (request.op) {
    case CSB_OP_CONTEXT_LIST:
    case CSB_OP_CONTEXT_DELETE:
      if (!peer.contexts) return Lacks("contexts of Python");
      out.http.target =
          UserTarget(request.user, request.op == CSB_OP_CONTEXT_LIST ? "/contexts" : "/contexts/");
      if (request.op == CSB_OP_CONTEXT_LIST) return out;
      out.http.method = "DELETE";
      out.http.target += Segment(json::GetString(*payload, "name").value_or(""));
      out.harmless = false;  // a second one finds nothing
      return out;
    case CSB_OP_CREATE: {
      auto body = CreateBody(request);
      if (!body) return body.error();
      out.http.method = "POST";
      out.http.body = *std::move(body);
      return out;
    }
    case CSB_OP_DESTROY:
      out.http.method = "DELETE";
      if (json::GetBool(*payload, "purge").value_or(false)) {
        if (!peer.purge && peer.described)
          return Lacks("removal of files (purge)",
                       "destroy without it, or remove them by a shell command first");
        out.http.target += "?purge=true";
      }
      return out;
    case CSB_OP_RESTART:
      out.harmless = false;
      [[fallthrough]];
    case CSB_OP_STOP:
      out.http.method = "POST";
      return out;
    case CSB_OP_STATUS:
      return out;
    default:
      return Error{
          CSB_E_UNSUPPORTED,
          "the remote backend does not offer the operation " + std::string(NameOfOperation(request.op)), "",
          false};
  }
}

Result<Part> PartOf(const Request& request) {
  const auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  Part part;
  part.path = json::GetString(*payload, "path").value_or("");
  part.offset = json::GetInt(*payload, "offset").value_or(0);
  if (const auto length = json::GetInt(*payload, "length"); length && *length >= 0)
    part.length = static_cast<uint64_t>(*length);
  return part;
}

Mapped MapRead(const Request& request, const Part& part, const Peer& peer) {
  Mapped out;
  out.harmless = true;
  out.http.target = UserTarget(request.user, "/file?path=" + UrlEscape(part.path));
  if (!peer.raw_read) {
    out.http.headers = {"Accept: application/json"};
    return out;
  }
  out.http.headers = {std::string("Accept: ") + kBytes};
  out.http.keep = {"Content-Length", "Content-Range", "X-File-Mtime", "X-File-Mode"};
  if (part.length == uint64_t{0}) {
    out.http.method = "HEAD";
  } else if (part.offset < 0) {
    out.http.headers.push_back("Range: bytes=" + std::to_string(part.offset));
  } else if (part.offset > 0 || part.length) {
    const auto first = static_cast<uint64_t>(part.offset);
    out.http.headers.push_back("Range: bytes=" + std::to_string(first) + "-" +
                               (part.length ? std::to_string(first + *part.length - 1) : ""));
  }
  return out;
}

Result<Mapped> MapUpload(const Request& request, const Peer& peer) {
  const auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  Mapped out;
  out.http.method = "POST";
  std::string tail = "/file?path=" + UrlEscape(json::GetString(*payload, "path").value_or(""));
  if (const auto mode = json::GetString(*payload, "mode")) {
    if (!peer.mode) return Lacks("mode of a file", "write it without, then use chmod");
    tail += "&mode=" + UrlEscape(*mode);
  }
  out.http.target = UserTarget(request.user, tail);
  out.http.headers = {std::string("Content-Type: ") + kBytes};
  out.harmless = true;  // it is atomic, and the same bytes
  return out;
}

Result<Mapped> MapWrite(const Request& request, const Peer& peer, std::string_view bytes) {
  if (peer.raw_write) {
    auto out = MapUpload(request, peer);
    if (out) out->http.body = bytes;
    return out;
  }
  const auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  if (json::GetString(*payload, "mode")) return Lacks("mode of a file", "write it without, then use chmod");
  if (bytes.size() > kMaxPlainFile)
    return Error{CSB_E_TOO_LARGE,
                 "the file is over 16 MiB, and the remote sandbox service takes no raw uploads", "", false};
  Mapped out;
  out.http.method = "POST";
  out.http.target = UserTarget(request.user, "/file");
  const bool text = utf8::Valid(bytes);
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "path", json::GetString(*payload, "path").value_or(""));
  json::Member(w, "content", std::string_view(text ? std::string(bytes) : base64::Encode(bytes)));
  json::Member(w, "encoding", text ? "utf-8" : "base64");
  w.EndObject();
  out.http.body.assign(buffer.GetString(), buffer.GetSize());
  out.harmless = true;
  return out;
}

}  // namespace csb::remote
