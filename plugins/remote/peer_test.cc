// SPDX-License-Identifier: Apache-2.0
#include "plugins/remote/peer.h"

#include <gmock/gmock.h>

#include "plugins/common/json_testing.h"
#include "plugins/remote/testing.h"

namespace csb::remote {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

// As text, replaced once.
std::string With(std::string_view document, std::string_view from, std::string_view to) {
  std::string out(document);
  const size_t at = out.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? out : out.replace(at, from.size(), to);
}

TEST(Peer, TheExcerptOfTheseTestsOffersAsMuch) {
  const Peer peer = ReadPeer(kFullDocument);
  EXPECT_THAT(peer.Lacks(), IsEmpty());
  EXPECT_TRUE(peer.recursive && peer.stat && peer.entries && peer.bound);
}

TEST(Peer, APlainServiceHasOnlyThePlainCalls) {
  const Peer peer = ReadPeer(kPlainDocument);
  EXPECT_TRUE(peer.described);
  EXPECT_EQ(peer.title, "Clara Code Sandbox");
  EXPECT_EQ(peer.version, "1.0.0");
  EXPECT_THAT(peer.Offers(), IsEmpty());
  EXPECT_THAT(peer.Lacks(), Contains(StartsWith("standard input: ")));
  EXPECT_THAT(peer.Lacks(), Contains(StartsWith("requests that are done once: ")));
  EXPECT_FALSE(peer.recursive || peer.stat || peer.entries || peer.bound);
}

TEST(Peer, AMemberOfABodyIsSeenBehindItsReference) {
  const Peer peer = ReadPeer(With(With(kPlainDocument, R"("code": {"type": "string"})",
                                       R"("code": {}, "args": {}, "stdin": {"anyOf": [{"type": "string"}]})"),
                                  R"("command": {"type": "string"})", R"("command": {}, "stdin": {})"));
  EXPECT_TRUE(peer.input);
  EXPECT_TRUE(peer.arguments);
  EXPECT_FALSE(peer.folder);
}

TEST(Peer, WhatOnlyOneKindOfRunTakesIsNotOffered) {
  EXPECT_FALSE(
      ReadPeer(With(kPlainDocument, R"("code": {"type": "string"})", R"("code": {}, "stdin": {})")).input);
}

TEST(Peer, TheNameOfThePathsParameterIsTheServicesOwn) {
  std::string document(kFullDocument);
  for (size_t at; (at = document.find("{user_id}")) != std::string::npos;) document.replace(at, 9, "{u}");
  EXPECT_THAT(ReadPeer(document).Lacks(), IsEmpty());
  for (const char* path : {"/sandbox/{user_id}x/exec", "/v2/sandbox/{user_id}/exec",
                           "/sandbox/}user_id{/exec", "/sandbox/{user_id/exec", "/sandbox/user_id/exec"})
    EXPECT_FALSE(ReadPeer(With(kFullDocument, "/sandbox/{user_id}/exec\"", std::string(path) + "\"")).exec)
        << path;
}

TEST(Peer, OneWithoutADescriptionIsUsedPlainly) {
  for (const char* text :
       {"", "<html>not found</html>", "[]", "{}", "null", R"({"openapi":"3.1.0"})", "{\"paths\":"}) {
    const Peer peer = ReadPeer(text);
    EXPECT_FALSE(peer.described) << text;
    EXPECT_THAT(peer.Offers(), IsEmpty()) << text;
  }
}

TEST(Peer, WrongTypesCountAsAbsent) {
  for (const std::string_view value : kHostileJson) {
    const std::string v(value);
    for (
        const std::string& text :
        {R"({"paths":)" + v + "}", R"({"info":)" + v + R"(,"paths":{}})",
         R"({"paths":{"/sandbox/{u}/execute":)" + v + "}}",
         R"({"paths":{"/sandbox/{u}/execute":{"post":)" + v + "}}}",
         R"({"paths":{"/sandbox/{u}/execute":{"post":{"parameters":)" + v + R"(,"requestBody":)" + v +
             R"(,"responses":)" + v + "}}}}",
         R"({"paths":{"/sandbox/{u}/execute":{"post":{"parameters":[)" + v +
             R"(],"requestBody":{"content":{"application/json":{"schema":)" + v + "}}}}}}}",
         R"({"paths":{"/sandbox/{u}/execute":{"post":{"requestBody":{"content":{"application/json":{"schema":)" +
             (R"({"$ref":)" + v) + R"(}}}}}}},"components":)" + v + "}",
         R"({"paths":{"/sandbox/{u}/files":{"get":{"responses":{"200":{"content":{"application/json":)"
         R"({"schema":{"allOf":)" +
             v + "}}}}}}}}}"}) {
      const Peer peer = ReadPeer(text);
      EXPECT_THAT(peer.Offers(), IsEmpty()) << text;
      EXPECT_FALSE(peer.entries) << text;
    }
  }
}

TEST(Peer, ReferencesGoNowhereElseAndNotRound) {
  for (const char* to : {"#/components/schemas/ExecuteRequest", "#/paths", "#/", "#", "", "#//",
                         "#/components//", "http://evil.example/schema", "../../etc/passwd"}) {
    // ExecuteRequest is but a reference, also to itself.
    const Peer peer =
        ReadPeer(With(kPlainDocument, R"("ExecuteRequest": {"type": "object",)",
                      R"("ExecuteRequest": {"$ref": ")" + std::string(to) + R"(", "was": "object",)"));
    EXPECT_TRUE(peer.described) << to;
    EXPECT_FALSE(peer.input) << to;
  }
}

TEST(Peer, ADeepDocumentIsNone) {
  std::string deep = R"({"paths":{"x":)";
  deep += std::string(200'000, '[') + std::string(200'000, ']') + "}}";
  EXPECT_FALSE(ReadPeer(deep).described);
}

TEST(Peer, ItsNamesAreShownOnOneBoundedLine) {
  const Peer peer = ReadPeer(R"({"info":{"title":"a\u0000b\n\u001b[31mc","version":")" +
                             std::string(10'000, 'v') + R"("},"paths":{}})");
  EXPECT_EQ(peer.title.find_first_of(std::string_view("\0\n\x1b", 3)), std::string::npos);
  EXPECT_LT(peer.version.size(), 100u);
}

TEST(Peer, EachAbilityIsEitherOfferedOrMissing) {
  for (const std::string_view document : {kPlainDocument, kFullDocument}) {
    const Peer peer = ReadPeer(document);
    EXPECT_EQ(peer.Offers().size() + peer.Lacks().size(), 14u);
  }
}

}  // namespace
}  // namespace csb::remote
