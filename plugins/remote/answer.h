// SPDX-License-Identifier: Apache-2.0
//
// answer.h: what a service answered, in the terms of docs/operations.md. Everything it sends is hostile until
// it was read here: a type that is wrong, a page instead of JSON, another user's answer are errors that say
// so. `where` is the address as people know it.
//
//   if (answer.status != 200) return ErrorOf(answer, where);
//   auto result = InfoOf(answer, where, "alice");
#pragma once

#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"

namespace csb::remote {

// Of an answer that is no success. What it means is said by `code` in its body where there is one (our own
// service), else by its status.
Error ErrorOf(const HttpResponse& answer, const std::string& where);
// An error as our own service tells it: {"error", "detail", "code"}, with the status it has or had.
Error ErrorOfDocument(const json::Value& document, int status, const std::string& where);
// Of a stream: "the sandbox service at … sent " + what.
Error Odd(const std::string& where, const std::string& what);
// Of a service that says only that it did not work.
Error NotFound(const std::string& path);
// The request never got an answer. began: it may have reached the service.
Error ErrorOfTransport(Error error, const std::string& where, bool began, bool harmless);

// The answer of a service that does not know the path at all, as opposed to one that misses a file or
// sandbox.
bool NoSuchCall(const HttpResponse& answer);
// call: "POST /sandbox/…/execute".
Error HasNoSuchCall(const HttpResponse& answer, const std::string& where, const std::string& call);

// A JSON object, or CSB_E_UNAVAILABLE with what came instead.
Result<json::Document> ObjectOf(const HttpResponse& answer, const std::string& where);

// create, restart, status: the service's info. Refuses one of another user.
Result<std::string> InfoOf(const HttpResponse& answer, const std::string& where, const std::string& user);

// A run as one document, or the last event of a stream.
struct Run {
  std::string output, error;  // stdout, stderr
  std::string result;         // of the operation
};
Result<Run> RunOf(const json::Value& document, const std::string& where);

// What is told of a program in the background, with what it printed where that was asked for.
struct Program {
  std::string output;
  std::string result;  // of the operation
};
Result<Program> ProgramOf(const HttpResponse& answer, const std::string& where);
// Its info alone, which the last event of following one has as well.
Result<std::string> InfoOfProgram(const json::Value& document, const std::string& where);
// An answer that is handed on as it is: it must be an object, with `member` of that type.
Result<std::string> ObjectWith(const HttpResponse& answer, const std::string& where, const char* member,
                               rapidjson::Type type);

// File work, which answers as a run does: whether it succeeded.
Result<json::Document> DoneOf(const HttpResponse& answer, const std::string& where, bool* success);

// A file as a JSON document.
struct File {
  std::string path, bytes;
};
Result<File> FileOf(const HttpResponse& answer, const std::string& where);

// file_list; what only has text is read as `ls -la` prints it.
Result<std::string> ListOf(const HttpResponse& answer, const std::string& where, const std::string& path);
// The entry called `name` of such a listing, as file_stat tells it; CSB_E_NOT_FOUND.
Result<std::string> EntryOf(const HttpResponse& answer, const std::string& where, const std::string& path);

}  // namespace csb::remote
