// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/mapping.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "plugins/common/base64.h"
#include "plugins/common/json_testing.h"
#include "plugins/common/unique_fd.h"
#include "plugins/remote/testing.h"

namespace csb::remote {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const Peer kFull = ReadPeer(kFullDocument), kPlain = ReadPeer(kPlainDocument), kUnknown;

Request Of(uint32_t op, std::string payload = "{}", std::string user = "alice") {
  return {.op = op, .user = std::move(user), .payload = std::move(payload)};
}

Mapped Mapping(const Request& request, const Peer& peer,
               const std::optional<std::string>& input = std::nullopt, double left = 0) {
  auto mapped = Map(request, peer, input, left);
  EXPECT_TRUE(mapped) << request.payload << ": " << (mapped ? "" : mapped.error().message);
  return mapped ? *std::move(mapped) : Mapped();
}

std::string Line(const Mapped& mapped) { return mapped.http.method + " " + mapped.http.target; }

// The request lacks something there, and the message has its name.
void ExpectLacks(const Request& request, const Peer& peer, const char* name,
                 const std::optional<std::string>& input = std::nullopt) {
  const auto mapped = Map(request, peer, input);
  ASSERT_FALSE(mapped) << request.payload;
  EXPECT_EQ(mapped.error().code, CSB_E_UNSUPPORTED) << mapped.error().message;
  EXPECT_THAT(mapped.error().message, HasSubstr(name));
  EXPECT_NE(mapped.error().hint, "");
}

TEST(Map, EachCallOfASandboxesLife) {
  const struct {
    uint32_t op;
    const char* line;
    bool harmless;
  } cases[] = {{CSB_OP_CREATE, "POST /sandbox/alice/create", true},
               {CSB_OP_STATUS, "GET /sandbox/alice/status", true},
               {CSB_OP_STOP, "POST /sandbox/alice/stop", true},
               {CSB_OP_RESTART, "POST /sandbox/alice/restart", false},
               {CSB_OP_DESTROY, "DELETE /sandbox/alice/destroy", true}};
  for (const Peer* peer : {&kFull, &kPlain, &kUnknown})
    for (const auto& [op, line, harmless] : cases) {
      const Mapped mapped = Mapping(Of(op), *peer);
      EXPECT_EQ(Line(mapped), line);
      EXPECT_EQ(mapped.harmless, harmless) << line;
      EXPECT_FALSE(mapped.streamed) << line;
    }
  EXPECT_FALSE(Map(Of(CSB_OP_LIST), kFull, std::nullopt));
}

TEST(Map, EachRunOfBothKindsOfService) {
  const struct {
    uint32_t op;
    const char *payload, *full, *plain;
  } cases[] = {
      {CSB_OP_EXECUTE, R"({"code":"1"})", "POST /sandbox/alice/execute", "POST /sandbox/alice/execute"},
      {CSB_OP_SHELL, R"({"command":"1"})", "POST /sandbox/alice/shell", "POST /sandbox/alice/shell"},
      {CSB_OP_EXEC, R"({"argv":["a"]})", "POST /sandbox/alice/exec", "POST /sandbox/alice/shell"},
      {CSB_OP_PIP_INSTALL, R"({"package":"x"})", "POST /sandbox/alice/pip/install",
       "POST /sandbox/alice/pip/install"},
      {CSB_OP_PIP_LIST, "{}", "GET /sandbox/alice/pip/list?encoding=base64", "GET /sandbox/alice/pip/list"},
      {CSB_OP_UNZIP, R"({"path":"z"})", "POST /sandbox/alice/unzip", "POST /sandbox/alice/unzip"}};
  for (const auto& [op, payload, full, plain] : cases) {
    Mapped mapped = Mapping(Of(op, payload), kFull);
    EXPECT_EQ(Line(mapped), full);
    EXPECT_TRUE(mapped.streamed);
    EXPECT_THAT(mapped.http.headers, ElementsAre("Accept: text/event-stream"));
    EXPECT_EQ(mapped.harmless, op == CSB_OP_PIP_LIST) << full;
    for (const Peer* peer : {&kPlain, &kUnknown}) {
      mapped = Mapping(Of(op, payload), *peer);
      EXPECT_EQ(Line(mapped), plain);
      EXPECT_FALSE(mapped.streamed);
      EXPECT_THAT(mapped.http.headers, ElementsAre("Accept: application/json"));
      EXPECT_EQ(mapped.harmless, op == CSB_OP_PIP_LIST) << plain;
    }
  }
}

TEST(Map, ARunsMembersGoOn) {
  const char* payload = R"({"code":"c\u0000","args":["a"],"cwd":"/tmp","env":{"A":"b"},"timeout":0.5,)"
                        R"("output":{"head":1,"tail":2},"description":"d","secret":"not a member"})";
  auto body = Json(Mapping(Of(CSB_OP_EXECUTE, payload), kFull).http.body);
  EXPECT_EQ(json::ToString(body),
            R"({"code":"c\u0000","description":"d","args":["a"],"cwd":"/tmp","env":{"A":"b"},)"
            R"("timeout":0.5,"output":{"head":1,"tail":2},"encoding":"base64"})");
  body =
      Json(Mapping(Of(CSB_OP_EXECUTE, R"({"code":"c","timeout":0.5,"output":{"head":1},"args":[],"env":{}})"),
                   kPlain)
               .http.body);
  EXPECT_FALSE(body.HasMember("output")) << "the bound is kept here";
  EXPECT_FALSE(body.HasMember("encoding"));
  EXPECT_EQ(json::GetInt(body, "timeout"), 1) << "others count in whole seconds";
  ExpectLacks(Of(CSB_OP_EXECUTE, R"({"code":"c","args":["x"]})"), kPlain, "args");
  ExpectLacks(Of(CSB_OP_SHELL, R"({"command":"c","cwd":"/"})"), kPlain, "cwd");
  ExpectLacks(Of(CSB_OP_SHELL, R"({"command":"c","env":{"A":"b"}})"), kUnknown, "env");
}

TEST(Map, ContextsGoOnWhereThereAreAny) {
  const char* payload = R"({"code":"c","context":"a.b","results":true})";
  EXPECT_EQ(json::ToString(Json(Mapping(Of(CSB_OP_EXECUTE, payload), kFull).http.body)),
            R"({"code":"c","context":"a.b","results":true,"encoding":"base64"})");
  EXPECT_EQ(json::ToString(Json(Mapping(Of(CSB_OP_EXECUTE, payload), kPlain).http.body)), R"({"code":"c"})");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_CONTEXT_LIST), kFull)), "GET /sandbox/alice/contexts");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_CONTEXT_DELETE, R"({"name":".."})"), kFull)),
            "DELETE /sandbox/alice/contexts/%2E%2E");
  ExpectLacks(Of(CSB_OP_CONTEXT_LIST), kPlain, "contexts");
}

TEST(Map, ARunWithoutATimeoutGetsTheTimeThatIsLeft) {
  const Request run = Of(CSB_OP_SHELL, R"({"command":"c"})");
  EXPECT_EQ(json::GetInt(Json(Mapping(run, kPlain, {}, 29.2).http.body), "timeout"), 30);
  EXPECT_EQ(json::GetInt(Json(Mapping(run, kFull, {}, 0.001).http.body), "timeout"), 1);
  EXPECT_FALSE(Json(Mapping(run, kFull, {}, 0).http.body).HasMember("timeout"));
  EXPECT_EQ(
      json::GetInt(Json(Mapping(Of(CSB_OP_SHELL, R"({"command":"c","timeout":5})"), kFull, {}, 60).http.body),
                   "timeout"),
      5);
}

TEST(Map, StandardInput) {
  const Request run = Of(CSB_OP_SHELL, R"({"command":"cat"})");
  auto body = Json(Mapping(run, kFull, "h\xC3\xA4\n").http.body);
  EXPECT_EQ(json::GetString(body, "stdin"), "h\xC3\xA4\n");
  EXPECT_FALSE(body.HasMember("stdin_encoding"));
  for (const std::string& bytes : {std::string("a\0b", 3), std::string("\xff\xfe")}) {
    body = Json(Mapping(run, kFull, bytes).http.body);
    EXPECT_EQ(json::GetString(body, "stdin_encoding"), "base64");
    EXPECT_EQ(*base64::Decode(*json::GetString(body, "stdin")), bytes);
    Peer text = kFull;
    text.exact = false;
    ExpectLacks(run, text, "input that is not text", bytes);
  }
  ExpectLacks(run, kPlain, "standard input", "x");
  EXPECT_FALSE(Json(Mapping(run, kPlain, "").http.body).HasMember("stdin"))
      << "without any it has none there either";
  EXPECT_EQ(json::GetString(Json(Mapping(run, kFull, "").http.body), "stdin"), "");
}

// What sh makes of an argument vector that was written as a command: the program's arguments, each ended by
// NUL.
std::string ArgumentsOf(const std::string& command) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd in(ends[0]), out(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
  std::string text = command;
  char sh[] = "/bin/sh", c[] = "-c";
  char* const argv[] = {sh, c, text.data(), nullptr};
  pid_t pid = 0;
  EXPECT_EQ(::posix_spawn(&pid, sh, &actions, nullptr, argv, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  out.reset();
  std::string got;
  char piece[4096];
  for (ssize_t n; (n = ::read(in.get(), piece, sizeof piece)) > 0;) got.append(piece, static_cast<size_t>(n));
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0) << command;
  return got;
}

TEST(Map, AnArgumentVectorSurvivesTheShell) {
  const std::vector<std::string> words = {
      "",      " ",  "a b",   "'",         "''", "it's", "\"",     "\\", "\\'",  "$HOME",       "`id`",
      "$(id)", "*",  "~",     "!!",        "#",  ";",    "&",      "|",  "a\nb", "\n",          "\t",
      "-n",    "--", "{a,b}", "h\xC3\xA4", "<",  ">x",   "$'\\n'", "\r", "=",    "\x01\x1b[0m", "'\n'\"'"};
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "argv");
  w.StartArray();
  std::string expected;
  for (const char* word : {"printf", "%s\\0"}) json::String(w, word);
  for (const std::string& word : words) {
    json::String(w, word);
    expected += word + '\0';
  }
  w.EndArray();
  w.EndObject();
  const auto body = Json(Mapping(Of(CSB_OP_EXEC, buffer.GetString()), kPlain).http.body);
  EXPECT_FALSE(body.HasMember("argv"));
  EXPECT_EQ(ArgumentsOf(std::string(*json::GetString(body, "command"))), expected);
}

TEST(Map, AnArgumentVectorsProgramReplacesTheShell) {
  const auto body = Json(Mapping(Of(CSB_OP_EXEC, R"({"argv":["true"]})"), kPlain).http.body);
  EXPECT_THAT(std::string(*json::GetString(body, "command")), StartsWith("exec "));
  EXPECT_EQ(json::ToString(Json(Mapping(Of(CSB_OP_EXEC, R"({"argv":["a","b c"]})"), kFull).http.body)),
            R"({"argv":["a","b c"],"encoding":"base64"})");
  for (const char* payload : {"{}", R"({"argv":"x"})", R"({"argv":[1]})"})
    EXPECT_FALSE(Map(Of(CSB_OP_EXEC, payload), kPlain, std::nullopt)) << payload;
}

TEST(Map, UserIdsStayOneSegmentOfThePath) {
  const struct {
    const char *user, *segment;
  } cases[] = {{"alice", "alice"},
               {".", "%2E"},
               {"..", "%2E%2E"},
               {"...", "..."},
               {"a/b", "a%2Fb"},
               {"a/../b", "a%2F..%2Fb"},
               {"\xC3\xA4 %", "%C3%A4%20%25"},
               {"%2e%2e", "%252e%252e"},
               {"a?b#c", "a%3Fb%23c"},
               {"a\\b;c", "a%5Cb%3Bc"}};
  for (const auto& [user, segment] : cases) {
    EXPECT_EQ(UserTarget(user, "/status"), "/sandbox/" + std::string(segment) + "/status");
    EXPECT_EQ(Mapping(Of(CSB_OP_STATUS, "{}", user), kFull).http.target, UserTarget(user, "/status"));
  }
}

TEST(Map, CreateSendsMemoryAsText) {
  const auto body = [](const char* payload) { return Mapping(Of(CSB_OP_CREATE, payload), kPlain).http.body; };
  EXPECT_EQ(body(R"({"memory_limit":268435456,"cpu_limit":0.5,"image":"i","backend":"remote"})"),
            R"({"image":"i","memory_limit":"256m","cpu_limit":0.5})");
  EXPECT_EQ(body(R"({"memory_limit":268435457})"), R"({"memory_limit":"268435457"})");
  EXPECT_EQ(body("{}"), "{}");
}

TEST(Map, PurgeIsOnlyAskedOfWhoKnowsIt) {
  const Request purge = Of(CSB_OP_DESTROY, R"({"purge":true})");
  EXPECT_EQ(Line(Mapping(purge, kFull)), "DELETE /sandbox/alice/destroy?purge=true");
  ExpectLacks(purge, kPlain, "purge");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_DESTROY, R"({"purge":false})"), kPlain)), "DELETE /sandbox/alice/destroy");
}

TEST(Map, FileCalls) {
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_FILE_LIST), kFull)), "GET /sandbox/alice/files?path=%2Fworkspace");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_FILE_LIST, R"({"path":"a b&c","limit":5})"), kFull)),
            "GET /sandbox/alice/files?path=a%20b%26c&limit=5");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_FILE_LIST, R"({"path":"a","limit":5})"), kPlain)),
            "GET /sandbox/alice/files?path=a");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_FILE_STAT, R"({"path":"x/y"})"), kFull)),
            "GET /sandbox/alice/stat?path=x%2Fy");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_FILE_STAT, R"({"path":"x/y"})"), kPlain)),
            "GET /sandbox/alice/files?path=x");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_FILE_STAT, R"({"path":"y"})"), kPlain)),
            "GET /sandbox/alice/files?path=%2Fworkspace");
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_FILE_STAT, R"({"path":"/y"})"), kPlain)),
            "GET /sandbox/alice/files?path=%2F");
  const Mapped erase = Mapping(Of(CSB_OP_FILE_DELETE, R"({"path":"a"})"), kPlain);
  EXPECT_EQ(Line(erase), "DELETE /sandbox/alice/file?path=a");
  EXPECT_FALSE(erase.harmless) << "a second one would find nothing";
  EXPECT_EQ(Line(Mapping(Of(CSB_OP_FILE_DELETE, R"({"path":"a","recursive":true})"), kFull)),
            "DELETE /sandbox/alice/file?path=a&recursive=true");
  ExpectLacks(Of(CSB_OP_FILE_DELETE, R"({"path":"a","recursive":true})"), kPlain, "recursive");
}

// ---- Reading and writing.

std::vector<std::string> RangeOf(const char* payload, std::string* method = nullptr) {
  const Request request = Of(CSB_OP_FILE_READ, payload);
  const auto part = PartOf(request);
  EXPECT_TRUE(part) << payload;
  if (!part) return {};
  const Mapped mapped = MapRead(request, *part, kFull);
  if (method != nullptr) *method = mapped.http.method;
  EXPECT_TRUE(mapped.harmless);
  return {mapped.http.headers.begin() + 1, mapped.http.headers.end()};
}

TEST(MapRead, AsksForTheRangeOnly) {
  EXPECT_THAT(RangeOf(R"({"path":"a"})"), IsEmpty());
  EXPECT_THAT(RangeOf(R"({"path":"a","offset":5})"), ElementsAre("Range: bytes=5-"));
  EXPECT_THAT(RangeOf(R"({"path":"a","offset":5,"length":1})"), ElementsAre("Range: bytes=5-5"));
  EXPECT_THAT(RangeOf(R"({"path":"a","length":10})"), ElementsAre("Range: bytes=0-9"));
  EXPECT_THAT(RangeOf(R"({"path":"a","offset":-16})"), ElementsAre("Range: bytes=-16"));
  EXPECT_THAT(RangeOf(R"({"path":"a","offset":9223372036854775807,"length":9223372036854775807})"),
              ElementsAre("Range: bytes=9223372036854775807-18446744073709551613"));
  std::string method;
  EXPECT_THAT(RangeOf(R"({"path":"a","offset":7,"length":0})", &method), IsEmpty());
  EXPECT_EQ(method, "HEAD");
}

TEST(MapRead, APlainServiceIsAskedForTheWholeFile) {
  const Request request = Of(CSB_OP_FILE_READ, R"({"path":"a b","offset":5,"length":1})");
  const Mapped mapped = MapRead(request, *PartOf(request), kPlain);
  EXPECT_EQ(Line(mapped), "GET /sandbox/alice/file?path=a%20b");
  EXPECT_THAT(mapped.http.headers, ElementsAre("Accept: application/json"));
}

TEST(MapWrite, RawWhereItIsTaken) {
  const std::string bytes("\0\xff'\"\n", 5);
  const auto mapped = MapWrite(Of(CSB_OP_FILE_WRITE, R"({"path":"a/\u00e4","mode":"0640"})"), kFull, bytes);
  ASSERT_TRUE(mapped);
  EXPECT_EQ(Line(*mapped), "POST /sandbox/alice/file?path=a%2F%C3%A4&mode=0640");
  EXPECT_THAT(mapped->http.headers, ElementsAre("Content-Type: application/octet-stream"));
  EXPECT_EQ(mapped->http.body, bytes);
  EXPECT_TRUE(mapped->harmless);
}

TEST(MapWrite, AsJsonElse) {
  const Request request = Of(CSB_OP_FILE_WRITE, R"({"path":"a"})");
  auto mapped = MapWrite(request, kPlain, "h\xC3\xA4\n");
  ASSERT_TRUE(mapped);
  EXPECT_EQ(Line(*mapped), "POST /sandbox/alice/file");
  EXPECT_EQ(mapped->http.body, "{\"path\":\"a\",\"content\":\"h\xC3\xA4\\n\",\"encoding\":\"utf-8\"}");
  mapped = MapWrite(request, kPlain, "\xff");
  ASSERT_TRUE(mapped);
  EXPECT_EQ(mapped->http.body, R"({"path":"a","content":"/w==","encoding":"base64"})");
  EXPECT_TRUE(MapWrite(request, kPlain, std::string(kMaxPlainFile, 'x')));
  mapped = MapWrite(request, kPlain, std::string(kMaxPlainFile + 1, 'x'));
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().code, CSB_E_TOO_LARGE);
  mapped = MapWrite(Of(CSB_OP_FILE_WRITE, R"({"path":"a","mode":"0640"})"), kPlain, "");
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().code, CSB_E_UNSUPPORTED);
}

// Whatever a host checked, a payload that is none is an error and no crash.
TEST(Map, APayloadThatIsNoneIsRefused) {
  for (uint32_t op = 0; op < 70; ++op)
    for (const char* payload : {"[]", "{", "7"})
      for (const Peer* peer : {&kFull, &kPlain}) {
        const auto mapped = Map(Of(op, payload), *peer, std::nullopt);
        EXPECT_TRUE(!mapped || op == CSB_OP_PIP_LIST) << op << payload;
      }
  for (const std::string_view value : kHostileJson) {
    const std::string v(value);
    for (uint32_t op = 0; op < 70; ++op)
      static_cast<void>(
          Map(Of(op, R"({"path":)" + v + R"(,"argv":)" + v + R"(,"code":)" + v + R"(,"timeout":)" + v +
                         R"(,"limit":)" + v + R"(,"memory_limit":)" + v + R"(,"args":)" + v + "}"),
              kFull, "x", 1));
  }
}

TEST(Map, EachCallOnAProgramInTheBackground) {
  const struct {
    uint32_t op;
    const char *payload, *line, *body;
    bool harmless;
  } cases[] = {
      {CSB_OP_PROCESS_START, R"({"command":"c","terminal":{"rows":3}})", "POST /sandbox/alice/processes",
       R"({"command":"c","terminal":{"rows":3}})", false},
      {CSB_OP_PROCESS_LIST, "{}", "GET /sandbox/alice/processes", "", true},
      {CSB_OP_PROCESS_OUTPUT, R"({"handle":"p_1","offset":-5,"limit":9,"wait":0.5})",
       "GET /sandbox/alice/processes/p_1/output?encoding=base64&offset=-5&limit=9&wait=0.5", "", true},
      {CSB_OP_PROCESS_SIGNAL, R"({"handle":"p_1","signal":"INT"})",
       "POST /sandbox/alice/processes/p_1/signal", R"({"signal":"INT"})", false},
      {CSB_OP_PROCESS_WAIT, R"({"handle":"p_1","timeout":0})", "POST /sandbox/alice/processes/p_1/wait",
       R"({"timeout":0})", true},
      {CSB_OP_PROCESS_RESIZE, R"({"handle":"p_1","rows":1,"cols":2})",
       "POST /sandbox/alice/processes/p_1/resize", R"({"rows":1,"cols":2})", true},
      {CSB_OP_PROCESS_REMOVE, R"({"handle":"p_1"})", "DELETE /sandbox/alice/processes/p_1", "", false},
      {CSB_OP_PROCESS_REMOVE, R"({"handle":".././x?y"})",
       "DELETE /sandbox/alice/processes/%2E%2E%2F%2E%2Fx%3Fy", "", false},
  };
  for (const auto& c : cases) {
    const Mapped mapped = Mapping(Of(c.op, c.payload), kFull);
    EXPECT_EQ(Line(mapped), c.line);
    EXPECT_EQ(mapped.http.body, c.body) << c.line;
    EXPECT_EQ(mapped.harmless, c.harmless) << c.line;
    ExpectLacks(Of(c.op, c.payload), kPlain, "programs in the background");
  }
  EXPECT_EQ(MapProcessInput("alice", "p_1", "a\xff", true).http.body,
            R"({"content":"Yf8=","encoding":"base64","eof":true})");
  EXPECT_EQ(Line(MapFollow("alice", "p_1", 7)),
            "GET /sandbox/alice/processes/p_1/output?encoding=base64&offset=7");
}

TEST(Map, WhatIsKeptOfARunIsAskedForWhereItCanBeRead) {
  const Request request = Of(CSB_OP_SHELL, R"({"command":"c","keep":true,"yield_after":2})");
  EXPECT_THAT(Mapping(request, kFull).http.body,
              AllOf(HasSubstr(R"("keep":true)"), HasSubstr(R"("yield_after":2)")));
  EXPECT_THAT(Mapping(request, kPlain).http.body,
              AllOf(Not(HasSubstr("keep")), Not(HasSubstr("yield_after"))));
}

}  // namespace
}  // namespace csb::remote
