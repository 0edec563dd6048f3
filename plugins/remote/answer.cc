// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/answer.h"

#include <algorithm>
#include <cmath>

#include "clara_sandbox/cpp/operations.h"
#include "plugins/common/base64.h"
#include "plugins/common/printable.h"
#include "plugins/remote/listing.h"

namespace csb::remote {
namespace {

constexpr size_t kMaxWords = 600;  // of a service, in a message

struct Meaning {
  int status;
  csb_status code;
};
constexpr Meaning kMeanings[] = {
    {400, CSB_E_BAD_REQUEST}, {403, CSB_E_FORBIDDEN},   {404, CSB_E_NOT_FOUND},    {409, CSB_E_CONFLICT},
    {413, CSB_E_TOO_LARGE},   {422, CSB_E_INVALID},     {429, CSB_E_RATE_LIMITED}, {501, CSB_E_UNSUPPORTED},
    {503, CSB_E_UNAVAILABLE}, {502, CSB_E_UNAVAILABLE}, {504, CSB_E_DEADLINE},     {507, CSB_E_NO_SPACE},
};

csb_status CodeOf(int status) {
  for (const Meaning& meaning : kMeanings)
    if (meaning.status == status) return meaning.code;
  return status >= 500 ? CSB_E_INTERNAL : CSB_E_UNAVAILABLE;
}

csb_status CodeOf(std::string_view name) {
  for (csb_status code = 1; code < 64; ++code)
    if (NameOfStatus(code) == name && name != "unknown") return code;
  return CSB_OK;
}

// FastAPI's: {"detail": "text"}, or a list of {"loc": ["body", "code"], "msg": "…"}.
std::string WordsOf(const json::Value& document) {
  if (const auto error = json::GetString(document, "error")) return Printable(*error, kMaxWords);
  const json::Value* detail = json::Find(document, "detail");
  if (detail == nullptr) return "";
  if (detail->IsString()) return Printable({detail->GetString(), detail->GetStringLength()}, kMaxWords);
  if (!detail->IsArray()) return "";
  std::string words;
  for (const json::Value& item : detail->GetArray()) {
    const auto message = json::GetString(item, "msg");
    if (!message) continue;
    std::string field;
    if (const json::Value* place = json::Find(item, "loc");
        place != nullptr && place->IsArray() && !place->Empty()) {
      const json::Value& last = (*place)[place->Size() - 1];
      if (last.IsString()) field = std::string(last.GetString(), last.GetStringLength()) + ": ";
    }
    words += (words.empty() ? "" : "; ") + field + std::string(*message);
  }
  return Printable(words, kMaxWords);
}

bool Retryable(csb_status code) {
  return code == CSB_E_UNAVAILABLE || code == CSB_E_NO_CAPACITY || code == CSB_E_RATE_LIMITED;
}

std::string What(const HttpResponse& answer) {
  const std::string type = answer.content_type.substr(0, answer.content_type.find(';'));
  return type.empty() ? "no type" : Printable(type, 80);
}

Error NotOurs(const HttpResponse& answer, const std::string& where, const std::string& why) {
  return {CSB_E_UNAVAILABLE,
          "the sandbox service at " + where + " answered " + std::to_string(answer.status) + " with " + why,
          "check that remote.url (SANDBOX_API_URL) is the service's own address, and what stands in between",
          false};
}

Error Wrong(const std::string& where, const std::string& what) {
  return {CSB_E_UNAVAILABLE, "the sandbox service at " + where + " answered " + what,
          "it may be of a version that speaks another interface", false};
}

uint64_t Count(const json::Value& document, const char* name, uint64_t otherwise) {
  const json::Value* value = json::Find(document, name);
  return value != nullptr && value->IsUint64() ? value->GetUint64() : otherwise;
}

// Of a text that is as `encoding` says.
Result<std::string> BytesOf(const json::Value& document, const char* member) {
  const std::string_view text = json::GetString(document, member).value_or("");
  if (json::GetString(document, "encoding") == "base64") return base64::Decode(text);
  return std::string(text);
}

template <typename Fill>
std::string Object(Fill fill) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  fill(w);
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

Error ErrorOfDocument(const json::Value& document, int status, const std::string& where) {
  const csb_status named = CodeOf(json::GetString(document, "code").value_or(""));
  const csb_status code = named != CSB_OK ? named : CodeOf(status);
  Error error{code, WordsOf(document), "", Retryable(code)};
  // Our own service puts the hint behind the message.
  const std::string_view detail = json::GetString(document, "detail").value_or("");
  const std::string_view text = json::GetString(document, "error").value_or("");
  if (!text.empty() && detail.size() > text.size() + 2 && detail.starts_with(text) &&
      detail.substr(text.size(), 2) == ": ")
    error.hint = Printable(detail.substr(text.size() + 2), kMaxWords);
  if (error.message.empty())
    error.message =
        "the sandbox service at " + where + " answered " + std::to_string(status) + " and says no more";
  return error;
}

Error Odd(const std::string& where, const std::string& what) {
  return {CSB_E_UNAVAILABLE, "the sandbox service at " + where + " sent " + what,
          "it may be of a version that speaks another interface", false};
}

Error NotFound(const std::string& path) {
  return {CSB_E_NOT_FOUND, "File not found: " + path, "list the folder to see what there is", false};
}

bool NoSuchCall(const HttpResponse& answer) {
  if (answer.status != 404 && answer.status != 405) return false;
  const auto document = json::ParseObject(answer.body);
  return !document ||
         (!json::Find(*document, "code") &&
          (answer.status == 405 || WordsOf(*document).empty() || WordsOf(*document) == "Not Found"));
}

Error HasNoSuchCall(const HttpResponse& answer, const std::string& where, const std::string& call) {
  return {CSB_E_UNAVAILABLE,
          "the sandbox service at " + where + " has no " + call + " (" + std::to_string(answer.status) + ")",
          "check the path in remote.url (SANDBOX_API_URL); some services take no user ids with a slash",
          false};
}

Error ErrorOf(const HttpResponse& answer, const std::string& where) {
  if (answer.status / 100 == 3) {
    const std::string to = Printable(answer.Header("Location"), 200);
    return {CSB_E_UNAVAILABLE,
            "the sandbox service at " + where + " redirects" + (to.empty() ? "" : " to " + to) +
                "; that is not followed, since the key would go there",
            "if that is the service, write its address in remote.url (SANDBOX_API_URL)", false};
  }
  if (answer.status == 401)
    return {CSB_E_UNAVAILABLE, "the sandbox service at " + where + " refuses the API key (401)",
            "set remote.api_key (SANDBOX_API_KEY) to a key of that service", false};
  const auto document = json::ParseObject(answer.body);
  const bool ours = document && !answer.body.empty() && !WordsOf(*document).empty();
  if (!ours) {
    // A balancer that has nobody behind it answers so.
    if (answer.status == 502 || answer.status == 503 || answer.status == 504)
      return {answer.status == 504 ? CSB_E_DEADLINE : CSB_E_UNAVAILABLE,
              "the sandbox service at " + where + " answered " + std::to_string(answer.status) + " (" +
                  What(answer) + ")",
              "what stands before it may not reach it", true};
    return NotOurs(answer, where, What(answer) + ", which is no error of a sandbox service");
  }
  Error error = ErrorOfDocument(*document, answer.status, where);
  if (error.code == CSB_E_UNAVAILABLE || error.code == CSB_E_NO_CAPACITY)
    error.message = "the sandbox service at " + where + ": " + error.message;
  const std::string after = Printable(answer.Header("Retry-After"), 40);
  if (!after.empty() && error.code == CSB_E_RATE_LIMITED)
    error.hint = "the sandbox service at " + where + " says: again after " + after + " s" +
                 (error.hint.empty() ? "" : "; " + error.hint);
  return error;
}

Error ErrorOfTransport(Error error, const std::string& where, bool began, bool harmless) {
  if (error.code == CSB_E_CANCELLED) return error;
  const std::string words =
      error.message.substr(std::min(error.message.find(": ") + 2, error.message.size()));
  if (error.code == CSB_E_TOO_LARGE)
    return {CSB_E_UNAVAILABLE, "the sandbox service at " + where + " answers too much: " + words,
            "ask for less: a smaller file or output", false};
  if (error.code == CSB_E_DEADLINE) {
    error.message = "the sandbox service at " + where + " is silent: " + words;
    error.hint = "see whether it hangs; the limit is remote.request_timeout (SANDBOX_TIMEOUT)";
  } else {
    error.message = "the sandbox service at " + where + " can't be reached: " + words;
    error.hint = error.message.find("TLS: ") != std::string::npos
                     ? "check its certificate, remote.ca and remote.pinned_key"
                     : "see whether it runs and what is between: curl " + where + "/health";
  }
  if (began && !harmless) {
    error.message += "; whether the request was done is not known";
    error.retryable = false;
  }
  return error;
}

Result<json::Document> ObjectOf(const HttpResponse& answer, const std::string& where) {
  auto document = answer.body.empty() ? Result<json::Document>(Error{}) : json::ParseObject(answer.body);
  if (!document)
    return NotOurs(answer, where, What(answer) + ", which is not the JSON object of a sandbox service");
  return document;
}

Result<std::string> InfoOf(const HttpResponse& answer, const std::string& where, const std::string& user) {
  auto document = ObjectOf(answer, where);
  if (!document) return document.error();
  if (const auto whose = json::GetString(*document, "user_id"); whose && *whose != user)
    return Error{CSB_E_INTERNAL,
                 "the sandbox service at " + where + " answers for user " + Printable(*whose, 80) +
                     " instead of " + user,
                 "it takes different ids for the same: do not use it for these users", false};
  if (!json::GetString(*document, "status") && !json::GetString(*document, "container_id"))
    return Wrong(where, "no status for a sandbox");
  auto& allocator = document->GetAllocator();
  // These are this host's own to tell.
  for (const char* name : {"last_used", "execution_count", "user_id"})
    while (document->RemoveMember(name)) continue;  // each: who says it twice may mean another user
  document->AddMember("user_id", json::Value(user, allocator), allocator);
  if (document->HasMember("backend")) {
    document->AddMember("remote_backend", (*document)["backend"], allocator);
    document->RemoveMember("backend");
  }
  if (!document->HasMember("enforced")) {
    json::Value enforced(rapidjson::kObjectType);
    for (const char* name :
         {"memory", "cpu", "pids", "disk", "network", "seccomp", "userns", "no_new_privs"}) {
      json::Value member(rapidjson::kObjectType);
      member.AddMember("enforced", false, allocator);
      member.AddMember("value", "", allocator);
      member.AddMember("by", "the service does not report it", allocator);
      enforced.AddMember(rapidjson::StringRef(name), member, allocator);
    }
    document->AddMember("enforced", enforced, allocator);
  }
  document->AddMember("remote_address", json::Value(where, allocator), allocator);
  return json::ToString(*document);
}

Result<Run> RunOf(const json::Value& document, const std::string& where) {
  const auto exit_code = json::GetInt(document, "exit_code");
  if (!exit_code) return Wrong(where, "no exit_code for a run");
  Run run;
  run.output = json::GetString(document, "output").value_or("");
  run.error = json::GetString(document, "error").value_or("");
  int64_t code = std::clamp<int64_t>(*exit_code, -255, 255);
  const bool by_signal = code < 0;  // as Python tells it
  if (by_signal) code = 128 - code;
  std::string cause(json::GetString(document, "cause").value_or(""));
  // The interface's own words, of services that have no member for it.
  const auto says = [&](const char* member, std::string_view words) {
    return code != 0 && !document.HasMember(member) && run.error.starts_with(words);
  };
  if (cause.empty() && says("timed_out", "Execution timed out")) cause = "deadline", code = 124;
  if (cause.empty() && says("oom_killed", "OOM killed")) cause = "oom", code = 137;
  if (cause.empty())
    cause = json::GetBool(document, "oom_killed").value_or(false)        ? "oom"
            : json::GetBool(document, "timed_out").value_or(code == 124) ? "deadline"
            : by_signal                                                  ? "signal"
                                                                         : "exit";
  std::string message(json::GetString(document, "message").value_or(""));
  if (message.empty() && (cause == "deadline" || cause == "oom")) {
    // Without a member of its own the reason stands before stderr, as its first line.
    message = run.error.substr(0, run.error.find('\n'));
    run.error.erase(0, std::min(message.size() + 1, run.error.size()));
    if (message.empty() && cause == "deadline") message = "Execution timed out";
    if (message.empty() && cause == "oom") message = "OOM killed";
  }
  const double seconds = json::GetNumber(document, "execution_time").value_or(0);
  run.result = Object([&](json::Writer& w) {
    json::Member(w, "exit_code", code);
    json::Member(w, "cause", std::string_view(cause));
    json::Member(w, "signal", json::GetInt(document, "signal").value_or(cause == "signal" ? code - 128 : 0));
    json::Member(w, "execution_time", std::isfinite(seconds) && seconds >= 0 ? seconds : 0.0);
    json::Member(w, "stdout_bytes", Count(document, "stdout_bytes", run.output.size()));
    json::Member(w, "stderr_bytes", Count(document, "stderr_bytes", run.error.size()));
    json::Member(w, "stdout_dropped", Count(document, "stdout_dropped", 0));
    json::Member(w, "stderr_dropped", Count(document, "stderr_dropped", 0));
    json::Member(w, "message", std::string_view(message));
    json::Member(w, "hint", json::GetString(document, "hint").value_or(""));
    for (const char* name :
         {"destination", "files", "folders", "links", "bytes", "memory_used", "context", "handle", "running"})
      if (const json::Value* value = json::Find(document, name)) {
        json::Key(w, name);
        value->Accept(w);
      }
  });
  return run;
}

Result<std::string> InfoOfProgram(const json::Value& document, const std::string& where) {
  const auto state = json::GetString(document, "state");
  if (!json::GetString(document, "handle") || (state != "running" && state != "exited"))
    return Wrong(where, "no handle or state for a program");
  return Object([&](json::Writer& w) {
    for (const auto& member : document.GetObject()) {
      const std::string_view name(member.name.GetString(), member.name.GetStringLength());
      // The interface's, not the operation's.
      if (name == "output" || name == "encoding" || name == "running" || name == "event") continue;
      json::Key(w, name);
      member.value.Accept(w);
    }
  });
}

Result<Program> ProgramOf(const HttpResponse& answer, const std::string& where) {
  const auto document = ObjectOf(answer, where);
  if (!document) return document.error();
  auto info = InfoOfProgram(*document, where);
  if (!info) return info.error();
  Program program{"", *std::move(info)};
  if (!json::GetString(*document, "output")) return program;
  auto output = BytesOf(*document, "output");
  if (!output) return Wrong(where, "output whose base64 can't be read");
  program.output = *std::move(output);
  return program;
}

Result<std::string> ObjectWith(const HttpResponse& answer, const std::string& where, const char* member,
                               rapidjson::Type type) {
  const auto document = ObjectOf(answer, where);
  if (!document) return document.error();
  const json::Value* value = json::Find(*document, member);
  if (value == nullptr || value->GetType() != type) return Wrong(where, std::string("no ") + member);
  return json::ToString(*document);
}

Result<File> FileOf(const HttpResponse& answer, const std::string& where) {
  const auto document = ObjectOf(answer, where);
  if (!document) return document.error();
  if (!json::GetString(*document, "content")) return Wrong(where, "no content for a file");
  File file;
  file.path = json::GetString(*document, "path").value_or("");
  auto bytes = BytesOf(*document, "content");
  if (!bytes) return Wrong(where, "a file whose base64 can't be read");
  file.bytes = *std::move(bytes);
  return file;
}

Result<json::Document> DoneOf(const HttpResponse& answer, const std::string& where, bool* success) {
  auto document = ObjectOf(answer, where);
  if (!document) return document;
  const auto code = json::GetInt(*document, "exit_code");
  const auto said = json::GetBool(*document, "success");
  if (!code && !said) return Wrong(where, "neither exit_code nor success");
  *success = code ? *code == 0 : *said;
  return document;
}

Result<std::string> ListOf(const HttpResponse& answer, const std::string& where, const std::string& path) {
  bool success = false;
  auto document = DoneOf(answer, where, &success);
  if (!document) return document.error();
  if (!success)  // `ls` that failed
    return NotFound(path);
  const std::string_view text = json::GetString(*document, "output").value_or("");
  const json::Value* entries = json::Find(*document, "entries");
  const bool has = entries != nullptr && entries->IsArray();
  const std::vector<Entry> read = has ? std::vector<Entry>() : ReadListing(text);
  return Object([&](json::Writer& w) {
    json::Member(w, "path", json::GetString(*document, "path").value_or(path));
    json::Member(w, "text", text);
    json::Key(w, "entries");
    if (has)
      entries->Accept(w);
    else
      WriteEntries(w, read);
    json::Member(w, "truncated", json::GetBool(*document, "truncated").value_or(false));
    json::Member(w, "total", Count(*document, "total", has ? entries->Size() : read.size()));
  });
}

Result<std::string> EntryOf(const HttpResponse& answer, const std::string& where, const std::string& path) {
  auto list = ListOf(answer, where, path);
  if (!list) return list.error();
  const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
  const auto document = json::ParseObject(*list);
  if (!document) return Wrong(where, "a listing that can't be read");
  for (const json::Value& entry : (*document)["entries"].GetArray())
    if (json::GetString(entry, "name") == name) return json::ToString(entry);
  return NotFound(path);
}

}  // namespace csb::remote
