// SPDX-License-Identifier: Apache-2.0
#include "host/service/validate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "clara_sandbox/cpp/json.h"

namespace csb::host {
namespace {

struct Row {
  uint32_t op;
  std::string payload;
  csb_status code;      // 0: fine
  std::string message;  // how it begins
};

constexpr csb_status kInv = CSB_E_INVALID;
constexpr csb_status kBad = CSB_E_BAD_REQUEST;

std::string Member(const std::string& name, size_t length) {
  return "{\"" + name + "\":\"" + std::string(length, 'x') + "\"}";
}
std::string Array(const std::string& name, size_t count) {
  std::string out = "{\"" + name + "\":[";
  for (size_t i = 0; i < count; ++i) out += i == 0 ? "\"x\"" : ",\"x\"";
  return out + "]}";
}
std::string Timeout(const std::string& value) { return R"({"command":"true","timeout":)" + value + "}"; }

TEST(Validate, Table) {
  const std::string range = "timeout: must be a number between 0.001 and 300 seconds";
  const std::vector<Row> rows = {
      {CSB_OP_STATUS, "", 0, ""},
      {CSB_OP_STATUS, R"({"anything":[1]})", 0, ""},
      {CSB_OP_HEALTH, "{}", 0, ""},
      {999, "{}", kBad, "operation 999"},
      {0, "{}", kBad, "operation 0"},
      {CSB_OP_SHELL, "{", kBad, "not valid JSON"},
      {CSB_OP_SHELL, "[]", kBad, "JSON: an object"},
      {CSB_OP_SHELL, "null", kBad, "JSON: an object"},
      {CSB_OP_SHELL, R"({"command":"x")", kBad, "not valid JSON"},
      {CSB_OP_SHELL, R"({"command":"x"}{})", kBad, "not valid JSON"},
      {CSB_OP_SHELL, "{\"command\":\"\xff\"}", kBad, "not valid JSON"},
      {CSB_OP_SHELL, "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}", kBad,
       "JSON is nested"},
      {CSB_OP_SHELL, std::string(100000, '['), kBad, "JSON is nested"},
      {CSB_OP_SHELL, std::string((64u << 20) + 1, ' '), CSB_E_TOO_LARGE, "the request is longer"},

      {CSB_OP_SHELL, R"({"command":"true"})", 0, ""},
      {CSB_OP_SHELL, R"({"command":""})", 0, ""},
      {CSB_OP_SHELL, R"({"command":"true","unknown":{"a":1}})", 0, ""},
      {CSB_OP_SHELL, "{}", kInv, "command: is required"},
      {CSB_OP_SHELL, R"({"command":null})", kInv, "command: is required"},
      {CSB_OP_SHELL, R"({"command":1})", kInv, "command: must be text"},
      {CSB_OP_SHELL, R"({"command":"a\u0000b"})", kInv, "command: must not contain a NUL"},
      {CSB_OP_SHELL, R"({"command":"true","command":"false"})", kInv, "command: stands in the request twice"},
      {CSB_OP_SHELL, R"({"x":1,"x":2,"command":"true"})", 0, ""},
      {CSB_OP_SHELL, Member("command", 128 << 10), 0, ""},
      {CSB_OP_SHELL, Member("command", (128 << 10) + 1), kInv, "command: is longer than 131072 bytes"},

      {CSB_OP_SHELL, Timeout("1"), 0, ""},
      {CSB_OP_SHELL, Timeout("0.5"), 0, ""},
      {CSB_OP_SHELL, Timeout("300"), 0, ""},
      {CSB_OP_SHELL, Timeout("null"), 0, ""},
      {CSB_OP_SHELL, Timeout("0"), kInv, range},
      {CSB_OP_SHELL, Timeout("-0.0"), kInv, range},
      {CSB_OP_SHELL, Timeout("-1"), kInv, range},
      {CSB_OP_SHELL, Timeout("300.001"), kInv, range},
      {CSB_OP_SHELL, Timeout("1e308"), kInv, range},
      {CSB_OP_SHELL, Timeout("123456789012345678901234567890"), kInv, range},
      {CSB_OP_SHELL, Timeout("\"30\""), kInv, range},
      {CSB_OP_SHELL, Timeout("true"), kInv, range},
      {CSB_OP_SHELL, Timeout("[]"), kInv, range},
      {CSB_OP_FILE_READ, R"({"path":"x","timeout":3600})", 0, ""},
      {CSB_OP_FILE_WRITE, R"({"path":"x","timeout":3601})", kInv,
       "timeout: must be a number between 0.001 and 3600 seconds"},
      {CSB_OP_FILE_LIST, R"({"path":"x","timeout":301})", kInv, range},
      {CSB_OP_SHELL, Timeout("NaN"), kInv, "timeout: must be a finite number"},
      {CSB_OP_SHELL, Timeout("Infinity"), kInv, "timeout: must be a finite number"},
      {CSB_OP_SHELL, Timeout("-Infinity"), kInv, "timeout: must be a finite number"},
      {CSB_OP_SHELL, Timeout("1e999"), kInv, "timeout: must be a finite number"},
      {CSB_OP_SHELL, R"({"timeout" : 1e999})", kInv, "timeout: must be a finite number"},
      {CSB_OP_SHELL, R"({"command":"true","other":NaN})", kBad, "not valid JSON"},
      {CSB_OP_SHELL, R"({"command":NaN,"timeout":1e9999,})", kInv, "timeout: must be a finite number"},

      {CSB_OP_SHELL, R"({"command":"true","cwd":"/tmp"})", 0, ""},
      {CSB_OP_SHELL, R"({"command":"true","cwd":""})", kInv, "cwd: must not be empty"},
      {CSB_OP_SHELL, R"({"command":"true","env":{"A":"1","B":""}})", 0, ""},
      {CSB_OP_SHELL, R"({"command":"true","env":{"A":1}})", kInv, "env.A: must be text"},
      {CSB_OP_SHELL, R"({"command":"true","env":{"A=B":"1"}})", kInv, "env: a variable's name"},
      {CSB_OP_SHELL, R"({"command":"true","env":{"":"1"}})", kInv, "env: a variable's name"},
      {CSB_OP_SHELL, R"({"command":"true","env":{"A":"\u0000"}})", kInv, "env.A: must not contain a NUL"},
      {CSB_OP_SHELL, R"({"command":"true","env":["A=1"]})", kInv, "env: must be an object"},
      {CSB_OP_SHELL, R"({"command":"true","output":{"head":1,"tail":0}})", 0, ""},
      {CSB_OP_SHELL, R"({"command":"true","output":{}})", 0, ""},
      {CSB_OP_SHELL, R"({"command":"true","output":5})", kInv, "output: must be an object"},
      {CSB_OP_SHELL, R"({"command":"true","output":{"head":-1}})", kInv,
       "output.head: must be a whole number"},
      {CSB_OP_SHELL, R"({"command":"true","output":{"tail":1.5}})", kInv,
       "output.tail: must be a whole number"},
      {CSB_OP_SHELL, R"({"command":"true","output":{"tail":16777217}})", kInv,
       "output.tail: must be a whole number"},

      {CSB_OP_EXECUTE, R"({"code":"pass","description":"d","args":["a",""]})", 0, ""},
      {CSB_OP_EXECUTE, R"({"description":"d"})", kInv, "code: is required"},
      {CSB_OP_EXECUTE, R"({"code":"a\u0000"})", kInv, "code: must not contain a NUL"},
      {CSB_OP_EXECUTE, Member("code", 8 << 20), 0, ""},
      {CSB_OP_EXECUTE, Member("code", (8 << 20) + 1), kInv, "code: is longer than 8388608 bytes"},
      {CSB_OP_EXECUTE, R"({"code":"","args":"a"})", kInv, "args: must be an array"},
      {CSB_OP_EXECUTE, R"({"code":"","args":["a",2]})", kInv, "args[1]: must be text"},

      {CSB_OP_EXEC, R"({"argv":["ls","-l",""]})", 0, ""},
      {CSB_OP_EXEC, Array("argv", 4096), 0, ""},
      {CSB_OP_EXEC, Array("argv", 4097), kInv, "argv: has more than 4096"},
      {CSB_OP_EXEC, R"({"argv":[]})", kInv, "argv: must not be empty"},
      {CSB_OP_EXEC, R"({"argv":[""]})", kInv, "argv[0]: must not be empty"},
      {CSB_OP_EXEC, R"({"argv":["a","b\u0000"]})", kInv, "argv[1]: must not contain a NUL"},
      {CSB_OP_EXEC, "{}", kInv, "argv: is required"},

      {CSB_OP_PIP_INSTALL, R"({"package":"numpy>=1"})", 0, ""},
      {CSB_OP_PIP_INSTALL, R"({"package":"--index-url=http://x"})", kInv, "package: must not begin"},
      {CSB_OP_PIP_INSTALL, R"({"package":"  -e ."})", kInv, "package: must not begin"},
      {CSB_OP_PIP_INSTALL, R"({"package":["numpy"]})", kInv, "package: must be text"},
      {CSB_OP_PIP_INSTALL, "{}", kInv, "package: is required"},

      {CSB_OP_FILE_READ, R"({"path":"a.txt"})", 0, ""},
      {CSB_OP_FILE_READ, R"({"path":"a.txt","offset":-5,"length":0})", 0, ""},
      {CSB_OP_FILE_READ, R"({"path":"a","length":-1})", kInv, "length: must be a whole number"},
      {CSB_OP_FILE_READ, R"({"path":"a","offset":1e300})", kInv, "offset: must be a whole number"},
      {CSB_OP_FILE_READ, R"({"path":"a","offset":9223372036854775808})", kInv,
       "offset: must be a whole number"},
      {CSB_OP_FILE_READ, R"({"path":"a\u0000b"})", kInv, "path: must not contain a NUL"},
      {CSB_OP_FILE_READ, R"({"path":""})", kInv, "path: must not be empty"},
      {CSB_OP_FILE_READ, Member("path", 4096), 0, ""},
      {CSB_OP_FILE_READ, Member("path", 4097), kInv, "path: is longer than 4096 bytes"},
      {CSB_OP_FILE_READ, "{}", kInv, "path: is required"},
      {CSB_OP_FILE_WRITE, R"({"path":"a","mode":"0644"})", 0, ""},
      {CSB_OP_FILE_WRITE, R"({"path":"a","mode":"4755"})", kInv, "mode: must be octal"},
      {CSB_OP_FILE_WRITE, R"({"path":"a","mode":420})", kInv, "mode: must be octal"},
      {CSB_OP_FILE_WRITE, R"({"path":"a","mode":"u+x"})", kInv, "mode: must be octal"},
      {CSB_OP_FILE_WRITE, R"({"path":"a","mode":"77777777777"})", kInv, "mode: must be octal"},
      {CSB_OP_FILE_DELETE, R"({"path":"a","recursive":1})", kInv, "recursive: must be true or false"},
      {CSB_OP_FILE_LIST, "", 0, ""},
      {CSB_OP_FILE_LIST, R"({"limit":0})", kInv, "limit: must be a whole number"},
      {CSB_OP_FILE_STAT, "{}", kInv, "path: is required"},
      {CSB_OP_UNZIP, R"({"path":"a.zip","destination":"out"})", 0, ""},
      {CSB_OP_UNZIP, R"({"path":"a.zip","destination":""})", kInv, "destination: must not be empty"},

      {CSB_OP_CREATE, "", 0, ""},
      {CSB_OP_CREATE,
       R"({"image":"python:3.12-slim","memory_limit":"512m","cpu_limit":1.5,"backend":"docker"})", 0, ""},
      {CSB_OP_CREATE, R"({"image":"--privileged"})", kInv, "image: must not begin"},
      {CSB_OP_CREATE, R"({"image":"a b"})", kInv, "image: must not contain blanks"},
      {CSB_OP_CREATE, R"({"memory_limit":"lots"})", kInv, "memory_limit: "},
      {CSB_OP_CREATE, R"({"memory_limit":-1})", kInv, "memory_limit: must be"},
      {CSB_OP_CREATE, R"({"memory_limit":1})", kInv, "memory_limit: must be between"},
      {CSB_OP_CREATE, R"({"memory_limit":"unlimited"})", kInv, "memory_limit: must be between"},
      {CSB_OP_CREATE, R"({"memory_limit":{}})", kInv, "memory_limit: must be"},
      {CSB_OP_CREATE, R"({"cpu_limit":0})", kInv, "cpu_limit: must be a number of cores"},
      {CSB_OP_CREATE, R"({"cpu_limit":"many"})", kInv, "cpu_limit: must be a number of cores"},
      {CSB_OP_CREATE, R"({"cpu_limit":NaN})", kInv, "cpu_limit: must be a finite number"},
      {CSB_OP_CREATE, R"({"backend":"../x"})", kInv, "backend: must be the name"},
      {CSB_OP_DESTROY, R"({"purge":"yes"})", kInv, "purge: must be true or false"},
      {CSB_OP_DESTROY, R"({"purge":true})", 0, ""},
  };
  for (const Row& row : rows) {
    const auto r = Validate(row.op, row.payload, {});
    const std::string what = std::to_string(row.op) + " " + row.payload.substr(0, 100);
    if (row.code == CSB_OK) {
      EXPECT_TRUE(r) << what << ": " << (r ? "" : r.error().message);
    } else {
      ASSERT_FALSE(r) << what;
      EXPECT_EQ(r.error().code, row.code) << what << ": " << r.error().message;
      EXPECT_EQ(r.error().message.rfind(row.message, 0), 0u) << what << ": " << r.error().message;
    }
  }
}

TEST(Validate, WhatGoesOnAfterTheCall) {
  const std::string handle = R"("handle":"p_0123456789abcdef01234567")";
  const std::vector<Row> rows = {
      {CSB_OP_EXECUTE, R"({"code":"","context":"work-1","results":true,"keep":true,"yield_after":45})", 0,
       ""},
      {CSB_OP_EXECUTE, R"({"code":"","context":""})", kInv, "context: "},
      {CSB_OP_EXECUTE, R"({"code":"","context":"a/b"})", kInv, "context: "},
      {CSB_OP_EXECUTE, R"({"code":"","context":7})", kInv, "context: "},
      {CSB_OP_EXECUTE, R"({"code":"","results":1})", kInv, "results: must be true or false"},
      {CSB_OP_SHELL, R"({"command":"","keep":"yes"})", kInv, "keep: must be true or false"},
      {CSB_OP_SHELL, R"({"command":"","yield_after":0})", kInv, "yield_after: must be"},
      {CSB_OP_SHELL, R"({"command":"","yield_after":"1"})", kInv, "yield_after: must be"},
      {CSB_OP_CONTEXT_LIST, "{}", 0, ""},
      {CSB_OP_CONTEXT_DELETE, R"({"name":"work"})", 0, ""},
      {CSB_OP_CONTEXT_DELETE, "{}", kInv, "name: is required"},

      {CSB_OP_PROCESS_START, R"({"command":"c","input":true,"timeout":86400})", 0, ""},
      {CSB_OP_PROCESS_START, R"({"argv":["a"],"terminal":{"rows":24,"cols":80}})", 0, ""},
      {CSB_OP_PROCESS_START, R"({"argv":["a"],"terminal":{}})", 0, ""},
      {CSB_OP_PROCESS_START, "{}", kInv, "command: give either"},
      {CSB_OP_PROCESS_START, R"({"command":"c","argv":["a"]})", kInv, "command: give either"},
      {CSB_OP_PROCESS_START, R"({"command":""})", kInv, "command: must not be empty"},
      {CSB_OP_PROCESS_START, R"({"command":"c","terminal":{"rows":0}})", kInv, "terminal"},
      {CSB_OP_PROCESS_START, R"({"command":"c","terminal":true})", kInv, "terminal"},
      {CSB_OP_PROCESS_OUTPUT, "{" + handle + R"(,"offset":-10,"limit":8388608,"wait":300})", 0, ""},
      {CSB_OP_PROCESS_OUTPUT, "{" + handle + R"(,"limit":8388609})", kInv, "limit: must be"},
      {CSB_OP_PROCESS_OUTPUT, "{" + handle + R"(,"limit":0})", kInv, "limit: must be"},
      {CSB_OP_PROCESS_OUTPUT, "{" + handle + R"(,"wait":301})", kInv, "wait: must be"},
      {CSB_OP_PROCESS_OUTPUT, "{}", kInv, "handle: is required"},
      {CSB_OP_PROCESS_OUTPUT, R"({"handle":"../x"})", kInv, "handle: "},
      {CSB_OP_PROCESS_OUTPUT, R"({"handle":""})", kInv, "handle: "},
      {CSB_OP_PROCESS_INPUT, "{" + handle + R"(,"eof":true})", 0, ""},
      {CSB_OP_PROCESS_INPUT, "{" + handle + R"(,"eof":1})", kInv, "eof: must be true or false"},
      {CSB_OP_PROCESS_SIGNAL, "{" + handle + R"(,"signal":"INT"})", 0, ""},
      {CSB_OP_PROCESS_SIGNAL, "{" + handle + R"(,"signal":9})", 0, ""},
      {CSB_OP_PROCESS_SIGNAL, "{" + handle + R"(,"signal":""})", kInv, "signal: "},
      {CSB_OP_PROCESS_SIGNAL, "{" + handle + R"(,"signal":65})", kInv, "signal: "},
      {CSB_OP_PROCESS_SIGNAL, "{" + handle + "}", kInv, "signal: is required"},
      {CSB_OP_PROCESS_WAIT, "{" + handle + R"(,"timeout":0})", 0, ""},
      {CSB_OP_PROCESS_WAIT, "{" + handle + R"(,"timeout":-1})", kInv, "timeout: must be"},
      {CSB_OP_PROCESS_ATTACH, "{" + handle + R"(,"offset":0})", 0, ""},
      {CSB_OP_PROCESS_RESIZE, "{" + handle + R"(,"rows":1,"cols":10000})", 0, ""},
      {CSB_OP_PROCESS_RESIZE, "{" + handle + R"(,"rows":1})", kInv, "cols: is required"},
      {CSB_OP_PROCESS_RESIZE, "{" + handle + R"(,"rows":1,"cols":10001})", kInv, "cols: must be"},
      {CSB_OP_PROCESS_REMOVE, "{" + handle + "}", 0, ""},
  };
  for (const Row& row : rows) {
    const auto r = Validate(row.op, row.payload, {});
    const std::string what = std::to_string(row.op) + " " + row.payload;
    ASSERT_EQ(r ? CSB_OK : r.error().code, row.code) << what << ": " << (r ? "" : r.error().message);
    if (!r) {
      EXPECT_EQ(r.error().message.rfind(row.message, 0), 0u) << what << ": " << r.error().message;
    }
  }
}

TEST(Validate, TimeoutsOfTheDocument) {
  const auto of = [](uint32_t op, const char* payload, Limits limits = {}) {
    const auto r = Validate(op, payload, limits);
    return r ? r->timeout : std::nan("");
  };
  EXPECT_EQ(of(CSB_OP_EXECUTE, R"({"code":""})"), 30);
  EXPECT_EQ(of(CSB_OP_EXECUTE, R"({"code":""})", {.default_execution_timeout = 7}), 7);
  EXPECT_EQ(of(CSB_OP_EXECUTE, R"({"code":"","timeout":2.5})"), 2.5);
  EXPECT_EQ(of(CSB_OP_SHELL, R"({"command":""})"), 60);
  EXPECT_EQ(of(CSB_OP_EXEC, R"({"argv":["x"]})"), 60);
  EXPECT_EQ(of(CSB_OP_PIP_INSTALL, R"({"package":"x"})"), 120);
  EXPECT_EQ(of(CSB_OP_PIP_INSTALL, R"({"package":"x"})", {.max_execution_timeout = 45}), 45)
      << "never over the maximum";
  EXPECT_EQ(of(CSB_OP_PIP_LIST, ""), 60);
  EXPECT_EQ(of(CSB_OP_UNZIP, R"({"path":"x"})"), 120);
  EXPECT_EQ(of(CSB_OP_FILE_READ, R"({"path":"x"})"), 60);
  EXPECT_EQ(of(CSB_OP_CREATE, ""), 0);
  EXPECT_EQ(of(CSB_OP_SHELL, R"({"command":"","yield_after":5})"), 300) << "it goes on after the answer";
  const char* wait = R"({"handle":"p_0123456789abcdef01234567","timeout":200})";
  EXPECT_GT(of(CSB_OP_PROCESS_WAIT, wait), 200) << "what it waits for, and time to say so";
}

TEST(Validate, BringsLimitsIntoOneForm) {
  auto r = Validate(CSB_OP_CREATE,
                    R"({"memory_limit":"1g","cpu_limit":"0.5","image":"x","backend":"docker"})", {});
  ASSERT_TRUE(r);
  EXPECT_EQ(r->backend, "docker");
  ASSERT_TRUE(r->payload);
  auto doc = json::ParseObject(*r->payload);
  ASSERT_TRUE(doc);
  EXPECT_EQ(json::GetInt(*doc, "memory_limit"), int64_t{1} << 30);
  EXPECT_EQ(json::GetNumber(*doc, "cpu_limit"), 0.5);
  EXPECT_EQ(json::GetString(*doc, "image"), "x");
}

TEST(Validate, TrimsAPackageAndLeavesTheRestAlone) {
  auto r = Validate(CSB_OP_PIP_INSTALL, R"({"package":" numpy\n"})", {});
  ASSERT_TRUE(r);
  EXPECT_EQ(r->payload, R"({"package":"numpy"})");
  r = Validate(CSB_OP_PIP_INSTALL, R"({"package":"numpy"})", {});
  ASSERT_TRUE(r);
  EXPECT_FALSE(r->payload);
}

}  // namespace
}  // namespace csb::host
