// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/answer.h"

#include <gmock/gmock.h>

#include <limits>

#include "plugins/common/base64.h"
#include "plugins/common/json_testing.h"
#include "plugins/remote/testing.h"

namespace csb::remote {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kWhere = "https://sandbox.example";

Error Of(int status, std::string_view body, std::string_view type = "application/json") {
  return ErrorOf(Answered(status, body, type), kWhere);
}

TEST(ErrorOf, EachStatusHasItsMeaning) {
  const struct {
    int status;
    csb_status code;
    bool retryable;
  } cases[] = {
      {400, CSB_E_BAD_REQUEST, false}, {403, CSB_E_FORBIDDEN, false},   {404, CSB_E_NOT_FOUND, false},
      {409, CSB_E_CONFLICT, false},    {413, CSB_E_TOO_LARGE, false},   {422, CSB_E_INVALID, false},
      {429, CSB_E_RATE_LIMITED, true}, {501, CSB_E_UNSUPPORTED, false}, {503, CSB_E_UNAVAILABLE, true},
      {502, CSB_E_UNAVAILABLE, true},  {504, CSB_E_DEADLINE, false},    {507, CSB_E_NO_SPACE, false},
      {500, CSB_E_INTERNAL, false},    {599, CSB_E_INTERNAL, false},    {418, CSB_E_UNAVAILABLE, true},
  };
  for (const auto& [status, code, retryable] : cases) {
    const Error error = Of(status, R"({"detail":"the words"})");
    EXPECT_EQ(error.code, code) << status;
    EXPECT_EQ(error.retryable, retryable) << status;
    EXPECT_THAT(error.message, HasSubstr("the words")) << status;
  }
}

TEST(ErrorOf, OurOwnServicesCodeSaysMoreThanItsStatus) {
  const Error error =
      Of(503, R"({"error":"all 8 sandboxes are in use","detail":"all 8 sandboxes are in use: stop one",)"
              R"("code":"no_capacity"})");
  EXPECT_EQ(error.code, CSB_E_NO_CAPACITY);
  EXPECT_TRUE(error.retryable);
  EXPECT_EQ(error.message, "the sandbox service at https://sandbox.example: all 8 sandboxes are in use");
  EXPECT_EQ(error.hint, "stop one");
  EXPECT_EQ(Of(404, R"({"error":"x","code":"no_sandbox"})").code, CSB_E_NO_SANDBOX);
  EXPECT_EQ(Of(409, R"({"error":"x","code":"gone"})").code, CSB_E_GONE);
  // Names that are none, and "ok", which no error can be.
  for (const char* code : {"unknown", "ok", "", "NOT_FOUND", "7"})
    EXPECT_EQ(Of(409, R"({"error":"x","code":")" + std::string(code) + "\"}").code, CSB_E_CONFLICT) << code;
  EXPECT_EQ(Of(409, R"({"error":"x","code":6})").code, CSB_E_CONFLICT);
}

TEST(ErrorOf, FastApisDetailsNameTheField) {
  const Error error =
      Of(422, R"({"detail":[{"loc":["body","timeout"],"msg":"Input should be a valid integer",)"
              R"("type":"int_type"},{"loc":["body",3],"msg":"Field required"},{"loc":[],"msg":"c"},)"
              R"({"msg":7},"text",null,{"loc":"x","msg":"d"}]})");
  EXPECT_EQ(error.code, CSB_E_INVALID);
  EXPECT_EQ(error.message, "timeout: Input should be a valid integer; Field required; c; d");
}

TEST(ErrorOf, APageIsNoErrorOfASandboxService) {
  const Error error = Of(404, "<html><body>nginx: not here</body></html>", "text/html; charset=utf-8");
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(error.retryable);
  EXPECT_THAT(error.message,
              AllOf(HasSubstr(kWhere), HasSubstr("404"), HasSubstr("text/html"), Not(HasSubstr("<"))));
  EXPECT_THAT(error.hint, HasSubstr("SANDBOX_API_URL"));
  EXPECT_THAT(Of(500, "", "").message, HasSubstr("500 with no type"));
  for (const std::string_view body : kHostileJson)
    EXPECT_THAT(Of(400, body).message, HasSubstr("no error of a sandbox service")) << body;
}

TEST(ErrorOf, ABalancerWithNobodyBehindItMayBeAskedAgain) {
  for (const int status : {502, 503, 504}) {
    const Error error = Of(status, "<html>Bad Gateway</html>", "text/html");
    EXPECT_EQ(error.code, status == 504 ? CSB_E_DEADLINE : CSB_E_UNAVAILABLE);
    EXPECT_TRUE(error.retryable) << status;
    EXPECT_THAT(error.message, HasSubstr(std::to_string(status)));
  }
}

TEST(ErrorOf, ARefusedKeyAndARedirectSayWhatToSet) {
  Error error = Of(401, R"({"detail":"Invalid API key"})");
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(error.retryable);
  EXPECT_THAT(error.message, HasSubstr("refuses the API key (401)"));
  EXPECT_THAT(error.hint, HasSubstr("SANDBOX_API_KEY"));
  HttpResponse redirect = Answered(307, "");
  redirect.headers = {{"Location", "https://other.example/\x1b[2J" + std::string(5000, 'x')}};
  error = ErrorOf(redirect, kWhere);
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_THAT(error.message, HasSubstr("redirects to https://other.example/"));
  EXPECT_THAT(error.message, Not(HasSubstr("\x1b")));
  EXPECT_LT(error.message.size(), 500u);
}

TEST(ErrorOf, SaysWhenToComeAgain) {
  HttpResponse answer = Answered(429, R"({"error":"too many requests"})");
  answer.headers = {{"Retry-After", "17"}};
  EXPECT_THAT(ErrorOf(answer, kWhere).hint, HasSubstr("again after 17 s"));
}

TEST(ErrorOf, WhatAServiceSaysIsOneBoundedLine) {
  const Error error = Of(400, R"({"error":"a\nb\u0007c\u0000)" + std::string(5000, 'y') + R"(","detail":")" +
                                  std::string(90'000, 'z') + "\"}");
  EXPECT_EQ(error.message.find_first_of(std::string_view("\n\x07\0", 3)), std::string::npos);
  EXPECT_LT(error.message.size(), 700u);
  EXPECT_LT(error.hint.size(), 700u);
}

TEST(NoSuchCall, IsAPathThatTheServiceDoesNotKnow) {
  EXPECT_TRUE(NoSuchCall(Answered(404, R"({"detail":"Not Found"})")));
  EXPECT_TRUE(NoSuchCall(Answered(405, R"({"detail":"Method Not Allowed"})")));
  EXPECT_TRUE(NoSuchCall(Answered(404, "<html>", "text/html")));
  EXPECT_TRUE(NoSuchCall(Answered(404, "")));
  EXPECT_FALSE(NoSuchCall(Answered(404, R"({"detail":"File not found: a.txt"})")));
  EXPECT_FALSE(NoSuchCall(Answered(404, R"({"error":"Not Found","code":"not_found"})")));
  EXPECT_FALSE(NoSuchCall(Answered(200, "")));
  EXPECT_FALSE(NoSuchCall(Answered(500, "")));
}

TEST(ErrorOfTransport, SaysWhereAndWhetherItMayHaveBeenDone) {
  const Error cut{CSB_E_UNAVAILABLE, "POST /sandbox/a/execute: connect http://x: Connection refused", "",
                  true};
  Error error = ErrorOfTransport(cut, kWhere, false, false);
  EXPECT_EQ(error.message,
            "the sandbox service at https://sandbox.example can't be reached: connect http://x: "
            "Connection refused");
  EXPECT_TRUE(error.retryable);
  EXPECT_THAT(error.hint, HasSubstr("curl https://sandbox.example/health"));
  error = ErrorOfTransport(cut, kWhere, true, true);
  EXPECT_TRUE(error.retryable);
  error = ErrorOfTransport(cut, kWhere, true, false);
  EXPECT_FALSE(error.retryable);
  EXPECT_THAT(error.message, HasSubstr("whether the request was done is not known"));
  error = ErrorOfTransport({CSB_E_UNAVAILABLE, "GET /x: TLS: expired", "", false}, kWhere, false, false);
  EXPECT_THAT(error.hint, HasSubstr("remote.ca"));
  error = ErrorOfTransport({CSB_E_DEADLINE, "GET /x: no answer within 60 s", "", true}, kWhere, true, true);
  EXPECT_THAT(error.message, HasSubstr("is silent: no answer within 60 s"));
  error = ErrorOfTransport({CSB_E_TOO_LARGE, "GET /x: the answer is over 5 bytes", "", false}, kWhere, true,
                           true);
  EXPECT_EQ(error.code, CSB_E_UNAVAILABLE);
  EXPECT_FALSE(error.retryable);
  EXPECT_EQ(ErrorOfTransport({CSB_E_CANCELLED, "GET /x: cancelled", "", false}, kWhere, true, false).code,
            CSB_E_CANCELLED);
}

TEST(ObjectOf, SaysWhatCameInstead) {
  for (const char* body : {"", "<html>", "[]", "null", "{\"a\":", "7"}) {
    const auto object = ObjectOf(Answered(200, body, "text/html"), kWhere);
    ASSERT_FALSE(object) << body;
    EXPECT_EQ(object.error().code, CSB_E_UNAVAILABLE);
    EXPECT_THAT(object.error().message,
                HasSubstr("answered 200 with text/html, which is not the JSON object"));
  }
}

TEST(InfoOf, IsTheServicesWithThisHostsOwnNames) {
  const auto info = InfoOf(Answered(200, R"({"user_id":"alice","container_id":"c1","status":"running",)"
                                         R"("last_used":"yesterday","execution_count":7,"backend":"docker",)"
                                         R"("limits":{"memory":5},"extra":[1]})"),
                           kWhere, "alice");
  ASSERT_TRUE(info) << info.error().message;
  const auto doc = Json(*info);
  EXPECT_EQ(json::GetString(doc, "user_id"), "alice");
  EXPECT_EQ(json::GetString(doc, "status"), "running");
  EXPECT_EQ(json::GetString(doc, "remote_backend"), "docker");
  EXPECT_EQ(json::GetString(doc, "remote_address"), kWhere);
  for (const char* name : {"backend", "last_used", "execution_count"})
    EXPECT_FALSE(doc.HasMember(name)) << name;
  EXPECT_TRUE(doc.HasMember("limits") && doc.HasMember("extra"));
}

TEST(InfoOf, RefusesTheAnswerForSomebodyElse) {
  for (const char* body :
       {R"({"user_id":"bob","status":"running"})", R"({"user_id":"Alice","status":"running"})",
        R"({"user_id":"","status":"running"})"}) {
    const auto info = InfoOf(Answered(200, body), kWhere, "alice");
    ASSERT_FALSE(info) << body;
    EXPECT_EQ(info.error().code, CSB_E_INTERNAL);
    EXPECT_THAT(info.error().message, HasSubstr("instead of alice"));
  }
  EXPECT_TRUE(InfoOf(Answered(200, R"({"status":"running"})"), kWhere, "alice"))
      << "plain services may not say";
}

TEST(InfoOf, SaysOneUserWhateverTheServiceRepeats) {
  const auto info =
      InfoOf(Answered(200, R"({"user_id":"alice","status":"running","user_id":"bob","backend":"a",)"
                           R"("user_id":"carol","backend":"b","last_used":"1","last_used":"2"})"),
             kWhere, "alice");
  ASSERT_TRUE(info);
  EXPECT_THAT(*info, AllOf(Not(HasSubstr("bob")), Not(HasSubstr("carol")), Not(HasSubstr("last_used"))));
}

TEST(InfoOf, NeedsAStatus) {
  EXPECT_FALSE(InfoOf(Answered(200, "{}"), kWhere, "alice"));
  EXPECT_FALSE(InfoOf(Answered(200, R"({"status":7})"), kWhere, "alice"));
  for (const std::string_view body : kHostileJson)
    EXPECT_FALSE(InfoOf(Answered(200, body), kWhere, "alice")) << body;
}

// ---- Runs.

struct Outcome {
  Run run;
  json::Document result;
  std::string_view Text(const char* name) const { return json::GetString(result, name).value_or("none"); }
  int64_t Int(const char* name) const { return json::GetInt(result, name).value_or(-999); }
};

Outcome RunIn(std::string_view text) {
  const auto doc = Json(text);
  auto run = RunOf(doc, kWhere);
  EXPECT_TRUE(run) << text;
  if (!run) return {};
  auto result = Json(run->result);
  return {*std::move(run), std::move(result)};
}

TEST(RunOf, APlainServicesRun) {
  const Outcome o =
      RunIn(R"({"success":true,"output":"1\n","error":null,"exit_code":0,"execution_time":0.25})");
  EXPECT_EQ(o.run.output, "1\n");
  EXPECT_EQ(o.run.error, "");
  EXPECT_EQ(o.Int("exit_code"), 0);
  EXPECT_EQ(o.Text("cause"), "exit");
  EXPECT_EQ(o.Text("message"), "");
  EXPECT_EQ(json::GetNumber(o.result, "execution_time"), 0.25);
  EXPECT_EQ(o.Int("stdout_bytes"), 2);
}

TEST(RunOf, AFailedProgramsErrorIsItsStderr) {
  const Outcome o = RunIn(R"({"success":false,"output":"","error":"Traceback:\n  x\n","exit_code":1})");
  EXPECT_EQ(o.run.error, "Traceback:\n  x\n");
  EXPECT_EQ(o.Text("cause"), "exit");
  EXPECT_EQ(o.Text("message"), "");
}

// Python's way to tell a signal. Nobody put a reason before what the program wrote.
TEST(RunOf, ANegativeExitCodeIsASignal) {
  const Outcome o = RunIn(R"({"output":"","error":"last words\nmore\n","exit_code":-9})");
  EXPECT_EQ(o.Int("exit_code"), 137);
  EXPECT_EQ(o.Text("cause"), "signal");
  EXPECT_EQ(o.Int("signal"), 9);
  EXPECT_EQ(o.run.error, "last words\nmore\n");
}

TEST(RunOf, ATimeoutsFirstLineIsItsReason) {
  for (const char* how :
       {R"("exit_code":124)", R"("exit_code":-1,"timed_out":true)", R"("exit_code":137,"timed_out":true)"}) {
    const Outcome o =
        RunIn("{" + std::string(how) + R"(,"output":"a","error":"Execution timed out after 5s\nerr\n"})");
    EXPECT_EQ(o.Text("cause"), "deadline") << how;
    EXPECT_EQ(o.Text("message"), "Execution timed out after 5s") << how;
    EXPECT_EQ(o.run.error, "err\n") << how;
  }
  EXPECT_EQ(RunIn(R"({"exit_code":124})").Text("message"), "Execution timed out");
}

TEST(RunOf, AProgramMayEndWith124WhereTheServiceSaysThatItWasInTime) {
  const Outcome o = RunIn(R"({"exit_code":124,"timed_out":false,"error":"its own line\n"})");
  EXPECT_EQ(o.Text("cause"), "exit");
  EXPECT_EQ(o.run.error, "its own line\n");
}

TEST(RunOf, OutOfMemory) {
  const Outcome o = RunIn(R"({"exit_code":137,"oom_killed":true,"error":null})");
  EXPECT_EQ(o.Text("cause"), "oom");
  EXPECT_EQ(o.Text("message"), "OOM killed");
}

TEST(RunOf, OurOwnExitEventSaysAllOfIt) {
  const Outcome o = RunIn(
      R"({"event":"exit","success":false,"output":"","error":null,"exit_code":124,"execution_time":5.0,)"
      R"("timed_out":true,"oom_killed":false,"cause":"deadline","truncated":true,"stdout_bytes":5000,)"
      R"("stderr_bytes":18446744073709551615,"stdout_dropped":4000,"stderr_dropped":1,"signal":9,)"
      R"("message":"Execution timed out after 5 s","hint":"raise it","files":3,"destination":"/w"})");
  EXPECT_EQ(o.Text("cause"), "deadline");
  EXPECT_EQ(o.Text("message"), "Execution timed out after 5 s");
  EXPECT_EQ(o.Text("hint"), "raise it");
  EXPECT_EQ(o.Int("signal"), 9);
  EXPECT_EQ(o.Int("stdout_bytes"), 5000);
  EXPECT_EQ(o.Int("stdout_dropped"), 4000);
  EXPECT_EQ(o.result["stderr_bytes"].GetUint64(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(o.Int("files"), 3);
  EXPECT_EQ(o.Text("destination"), "/w");
}

TEST(RunOf, WithoutAnExitCodeItIsNone) {
  for (const char* text : {"{}", R"({"success":true,"output":"x"})", R"({"exit_code":"zero"})",
                           R"({"exit_code":null})", R"({"exit_code":1.5})", R"({"exit_code":1e300})"}) {
    const auto run = RunOf(Json(text), kWhere);
    ASSERT_FALSE(run) << text;
    EXPECT_EQ(run.error().code, CSB_E_UNAVAILABLE);
    EXPECT_THAT(run.error().message, HasSubstr("no exit_code"));
  }
}

TEST(RunOf, WhateverItsMembersAreTheResultIsWhole) {
  for (const std::string_view value : kHostileJson) {
    std::string text = R"({"exit_code":3)";
    for (const char* name :
         {"output", "error", "cause", "message", "hint", "signal", "execution_time", "timed_out",
          "oom_killed", "stdout_bytes", "stderr_dropped", "files", "destination"})
      text += ",\"" + std::string(name) + "\":" + std::string(value);
    const Outcome o = RunIn(text + "}");
    EXPECT_EQ(o.Int("exit_code"), 3) << value;
    EXPECT_GE(json::GetNumber(o.result, "execution_time").value_or(-1), 0) << value;
  }
  for (const char* code : {"-9223372036854775808", "9223372036854775807", "-300", "70000"}) {
    const int64_t got = RunIn("{\"exit_code\":" + std::string(code) + "}").Int("exit_code");
    EXPECT_TRUE(got > 0 && got < 400) << code << " " << got;
  }
}

// ---- Files.

TEST(FileOf, IsTextOrBase64) {
  auto file = FileOf(Answered(200, R"({"path":"a","content":"h\u00e4\n"})"), kWhere);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->bytes, "h\xC3\xA4\n");
  file = FileOf(Answered(200, R"({"path":"a","content":"/wA=","encoding":"base64"})"), kWhere);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->bytes, std::string("\xff\0", 2));
  for (const char* body : {"{}", R"({"content":7})", R"({"content":"?","encoding":"base64"})", "", "[]"})
    EXPECT_FALSE(FileOf(Answered(200, body), kWhere)) << body;
}

TEST(DoneOf, NeedsToSaySo) {
  bool success = false;
  EXPECT_TRUE(DoneOf(Answered(200, R"({"exit_code":0})"), kWhere, &success));
  EXPECT_TRUE(success);
  EXPECT_TRUE(DoneOf(Answered(200, R"({"success":false})"), kWhere, &success));
  EXPECT_FALSE(success);
  EXPECT_TRUE(DoneOf(Answered(200, R"({"success":true,"exit_code":2})"), kWhere, &success));
  EXPECT_FALSE(success) << "the exit code is more exact";
  for (const char* body : {"{}", R"({"success":"yes","exit_code":"zero"})", "[]", ""})
    EXPECT_FALSE(DoneOf(Answered(200, body), kWhere, &success)) << body;
}

TEST(ListOf, TakesTheEntriesOrReadsTheText) {
  auto list = ListOf(
      Answered(200,
               R"({"success":true,"exit_code":0,"output":"total 4\n-rw-r--r-- 1 u u 5 Nov 27 11:00 a b\n"})"),
      kWhere, "/workspace");
  ASSERT_TRUE(list) << list.error().message;
  auto doc = Json(*list);
  EXPECT_EQ(json::GetString(doc, "path"), "/workspace");
  EXPECT_THAT(std::string(*json::GetString(doc, "text")), StartsWith("total 4"));
  ASSERT_EQ(doc["entries"].Size(), 1u);
  EXPECT_EQ(json::GetString(doc["entries"][0], "name"), "a b");
  EXPECT_EQ(json::GetInt(doc["entries"][0], "size"), 5);
  list =
      ListOf(Answered(200, R"({"success":true,"path":"/workspace/x","output":"","entries":[{"name":"q"}]})"),
             kWhere, "x");
  ASSERT_TRUE(list);
  doc = Json(*list);
  EXPECT_EQ(json::GetString(doc, "path"), "/workspace/x");
  EXPECT_EQ(json::GetString(doc["entries"][0], "name"), "q");
  list = ListOf(Answered(200, R"({"success":false,"output":"","error":"ls: x: No such file"})"), kWhere, "x");
  ASSERT_FALSE(list);
  EXPECT_EQ(list.error().code, CSB_E_NOT_FOUND);
  EXPECT_EQ(list.error().message, "File not found: x");
}

TEST(EntryOf, FindsTheOneOfThatName) {
  const auto listing = Answered(200, R"({"exit_code":0,"output":"-rw-r--r-- 1 u u 5 Nov 27 11:00 a\n)"
                                     R"(-rwx------ 1 u u 6 Nov 27 11:00 a b\n"})");
  auto entry = EntryOf(listing, kWhere, "/workspace/a b");
  ASSERT_TRUE(entry) << entry.error().message;
  const auto doc = Json(*entry);
  EXPECT_EQ(json::GetString(doc, "name"), "a b");
  EXPECT_EQ(json::GetString(doc, "mode"), "0700");
  entry = EntryOf(listing, kWhere, "b");
  ASSERT_FALSE(entry);
  EXPECT_EQ(entry.error().code, CSB_E_NOT_FOUND);
  for (const char* body :
       {R"({"success":true,"entries":[7,null,{"name":3},{}]})", R"({"success":true,"entries":7})"})
    EXPECT_FALSE(EntryOf(Answered(200, body), kWhere, "a")) << body;
}

}  // namespace
}  // namespace csb::remote
