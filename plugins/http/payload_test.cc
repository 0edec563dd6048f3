// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/payload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace csb::http {
namespace {

using ::testing::HasSubstr;

Result<Payload> Build(const char* method, const char* text, std::string_view body,
                      PayloadOptions options = {}) {
  auto target = ParseTarget(text);
  const Match match = FindRoute(method, target->segments);
  return BuildPayload(*match.route, *target, body, options);
}

TEST(Payload, TakesTheMembersOfTheTableAsTheyCame) {
  auto payload = Build("POST", "/sandbox/u/shell", R"({"command":7,"timeout":1.5,"unknown":{},"cwd":null})");
  ASSERT_TRUE(payload) << payload.error().message;
  EXPECT_EQ(payload->json, R"({"command":7,"timeout":1.5})");
  EXPECT_FALSE(payload->input);
}

TEST(Payload, TypesWhatAQuerySays) {
  EXPECT_EQ(Build("DELETE", "/sandbox/u?purge=true", "")->json, R"({"purge":true})");
  EXPECT_EQ(Build("DELETE", "/sandbox/u?purge=0", "")->json, R"({"purge":false})");
  EXPECT_EQ(Build("DELETE", "/sandbox/u?purge=True", "")->json, R"({"purge":true})") << "as Python prints it";
  EXPECT_EQ(Build("DELETE", "/sandbox/u?purge=FALSE", "")->json, R"({"purge":false})");
  EXPECT_EQ(Build("GET", "/sandbox/u/files?path=a%22b&limit=5", "")->json, R"({"path":"a\"b","limit":5})");
  for (const char* bad :
       {"/sandbox/u?purge=maybe", "/sandbox/u?purge", "/sandbox/u?purge=true&purge=false"}) {
    auto payload = Build("DELETE", bad, "");
    ASSERT_FALSE(payload) << bad;
    EXPECT_EQ(payload.error().code, CSB_E_INVALID);
    EXPECT_THAT(payload.error().message, HasSubstr("purge")) << bad;
  }
  EXPECT_THAT(Build("GET", "/sandbox/u/file?path=%FF", "").error().message, HasSubstr("path"));
  EXPECT_THAT(Build("GET", "/sandbox/u/files?limit=1e3", "").error().message, HasSubstr("limit"));
}

TEST(Payload, RefusesWhatIsNoJsonObject) {
  for (const char* bad : {"[]", "1", "{", "{\"a\":}", "\xFF", "{\"command\":\"\xFF\"}", "{} {}"})
    EXPECT_EQ(Build("POST", "/sandbox/u/shell", bad).error().code, CSB_E_BAD_REQUEST) << bad;
  const std::string deep = "{\"command\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_EQ(Build("POST", "/sandbox/u/shell", deep).error().code, CSB_E_BAD_REQUEST);
  EXPECT_EQ(Build("POST", "/sandbox/u/stop", "")->json, "{}");
}

TEST(Payload, NamesTheFieldThatIsNoFiniteNumber) {
  for (const char* value : {"NaN", "Infinity", "-Infinity", "-Inf", "1e999", " -1e999"}) {
    const std::string body = R"({"command":"x","timeout":)" + std::string(value) + "}";
    const auto payload = Build("POST", "/sandbox/u/shell", body);
    ASSERT_FALSE(payload) << body;
    EXPECT_EQ(payload.error().code, CSB_E_INVALID) << body;
    EXPECT_EQ(payload.error().message, "timeout: must be a finite number") << body;
  }
  for (const char* bad :
       {R"({"timeout":x})", R"({"other":NaN})", "NaN", R"({"timeout":-})", R"(["timeout":NaN)"})
    EXPECT_EQ(Build("POST", "/sandbox/u/shell", bad).error().code, CSB_E_BAD_REQUEST) << bad;
}

TEST(Payload, RefusesAMemberThatIsThereTwice) {
  for (const char* bad : {R"({"command":"a","command":"b"})", R"({"command":null,"command":"b"})",
                          R"({"stdin":"","stdin":""})"}) {
    const auto payload = Build("POST", "/sandbox/u/shell", bad);
    ASSERT_FALSE(payload) << bad;
    EXPECT_EQ(payload.error().code, CSB_E_INVALID) << bad;
  }
  EXPECT_TRUE(Build("POST", "/sandbox/u/shell", R"({"command":"a","unknown":1,"unknown":2})"));
}

TEST(Payload, RefusesMoreValuesThanAnyRequestHas) {
  const auto with = [](size_t values, const std::string& value) {
    std::string body = R"({"command":"x","unknown":[0)";
    for (size_t i = 0; i < values; ++i) body += "," + value;
    return body + "]}";
  };
  EXPECT_TRUE(Build("POST", "/sandbox/u/shell", with(999'990, "1")));
  for (const char* value : {"1", "[]", "\"\"", "{\"\\\"\":1}"}) {
    const auto payload = Build("POST", "/sandbox/u/shell", with(1'000'000, value));
    ASSERT_FALSE(payload) << value;
    EXPECT_EQ(payload.error().code, CSB_E_TOO_LARGE) << value;
  }
  const std::string text(3'000'000, ',');
  EXPECT_TRUE(Build("POST", "/sandbox/u/shell", R"({"command":"\\\")" + text + "\"}")) << "text is one value";
}

TEST(Payload, StdinIsInput) {
  auto payload = Build("POST", "/sandbox/u/shell", R"({"command":"cat","stdin":"a\u0000b"})");
  EXPECT_EQ(payload->json, R"({"command":"cat"})");
  EXPECT_EQ(payload->input, std::string("a\0b", 3));
  EXPECT_THAT(Build("POST", "/sandbox/u/shell", R"({"command":"cat","stdin":1})").error().message,
              HasSubstr("stdin"));
}

TEST(Payload, EncodingsOfARunStayHere) {
  auto payload = Build("POST", "/sandbox/u/exec",
                       R"({"argv":["x"],"stdin":"AAH/","stdin_encoding":"base64","encoding":"base64"})");
  ASSERT_TRUE(payload) << payload.error().message;
  EXPECT_EQ(payload->json, R"({"argv":["x"]})");
  EXPECT_EQ(payload->input, std::string("\0\1\xFF", 3));
  EXPECT_TRUE(payload->base64);
  payload = Build("POST", "/sandbox/u/shell",
                  R"({"command":"x","stdin":"AA==","stdin_encoding":"utf-8","encoding":null})");
  EXPECT_EQ(payload->input, "AA==");
  EXPECT_FALSE(payload->base64);
  payload = Build("GET", "/sandbox/u/pip/list?encoding=base64", "");
  EXPECT_EQ(payload->json, "{}");
  EXPECT_TRUE(payload->base64);
  EXPECT_EQ(Build("GET", "/sandbox/u/pip/list?encoding=x", "").error().message,
            "encoding: must be `utf-8` or `base64`");
  for (const auto& [bad, name] : std::vector<std::pair<const char*, const char*>>{
           {R"({"stdin":"?","stdin_encoding":"base64"})", "stdin: not valid base64"},
           {R"({"stdin_encoding":"latin1"})", "stdin_encoding: must be"},
           {R"({"encoding":1})", "encoding: must be"},
           {R"({"encoding":"base64","encoding":"utf-8"})", "encoding: is given twice"}}) {
    const auto refused = Build("POST", "/sandbox/u/shell", bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, CSB_E_INVALID) << bad;
    EXPECT_THAT(refused.error().message, HasSubstr(name)) << bad;
  }
}

TEST(Payload, BufferedOutputIsBounded) {
  const PayloadOptions options{.max_output = 100};
  auto payload = Build("POST", "/sandbox/u/shell", R"({"command":"x"})", options);
  EXPECT_EQ(payload->json, R"({"command":"x","output":{"head":50,"tail":50}})");
  EXPECT_EQ(Build("GET", "/sandbox/u/pip/list", "", options)->json, R"({"output":{"head":50,"tail":50}})");
  payload = Build("POST", "/sandbox/u/shell", R"({"output":{"head":10}})", options);
  EXPECT_EQ(payload->json, R"({"output":{"head":10,"tail":0}})");
  EXPECT_EQ(payload->bound->head, 10u);
  for (const char* bad :
       {R"({"output":{"head":101}})", R"({"output":{"head":60,"tail":60}})", R"({"output":1})",
        R"({"output":{"head":-1}})", R"({"output":{"head":18446744073709551615,"tail":2}})",
        R"({"output":{"tail":"x"}})"})
    EXPECT_THAT(Build("POST", "/sandbox/u/shell", bad, options).error().message, HasSubstr("output")) << bad;
}

TEST(Payload, FileContentIsDecoded) {
  const PayloadOptions options{.content_is_input = true};
  const auto write = [&](const char* body) { return Build("POST", "/sandbox/u/file", body, options); };
  auto payload = write(R"({"path":"x","content":"AAEC/w==","encoding":"base64"})");
  EXPECT_EQ(payload->json, R"({"path":"x"})");
  EXPECT_EQ(payload->input, std::string("\0\1\2\xFF", 4));
  EXPECT_EQ(write(R"({"path":"x","content":"hi"})")->input, "hi");
  EXPECT_EQ(write(R"({"path":"x","content":""})")->input, "");
  EXPECT_THAT(write(R"({"path":"x"})").error().message, HasSubstr("content"));
  EXPECT_THAT(write(R"({"path":"x","content":5})").error().message, HasSubstr("content"));
  EXPECT_THAT(write(R"({"path":"x","content":"%%","encoding":"base64"})").error().message,
              HasSubstr("content"));
  EXPECT_THAT(write(R"({"path":"x","content":"","encoding":"rot13"})").error().message,
              HasSubstr("encoding"));
}

}  // namespace
}  // namespace csb::http
