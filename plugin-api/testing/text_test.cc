// SPDX-License-Identifier: Apache-2.0
//
// Text that nobody vouches for: JSON, UTF-8 and user ids, as hosts and plugins read them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "clara_sandbox/cpp/identity.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"

namespace csb {
namespace {

using ::testing::HasSubstr;

std::string Nested(size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

TEST(Json, IsReadWhole) {
  const auto doc = json::ParseObject(R"( {"a":"x","n":-7,"d":1.5,"t":true,"z":null} )");
  ASSERT_TRUE(doc);
  EXPECT_EQ(json::GetString(*doc, "a"), "x");
  EXPECT_EQ(json::GetInt(*doc, "n"), -7);
  EXPECT_EQ(json::GetNumber(*doc, "d"), 1.5);
  EXPECT_EQ(json::GetBool(*doc, "t"), true);
  EXPECT_EQ(json::Find(*doc, "z"), nullptr);
  EXPECT_EQ(json::GetInt(*doc, "a"), std::nullopt);
  EXPECT_TRUE(json::ParseObject(""));
}

TEST(Json, AnythingBehindTheDocumentIsRefused) {
  for (const std::string& tail : {std::string("{}"), std::string("x"), std::string(1, '\0'),
                                  std::string("\0{\"user\":\"root\"}", 16), std::string(" \0 ", 3)}) {
    const auto doc = json::Parse("{\"a\":1}" + tail);
    ASSERT_FALSE(doc) << tail;
    EXPECT_EQ(doc.error().code, CSB_E_BAD_REQUEST);
  }
  EXPECT_THAT(json::Parse(std::string("{}\0", 3)).error().message, HasSubstr("byte 2"));
  // Escaped it is a character like others.
  EXPECT_EQ(json::GetString(*json::ParseObject(R"({"a":"x\u0000y"})"), "a"), std::string_view("x\0y", 3));
}

TEST(Json, DepthIsBoundedBeforeAnythingIsBuilt) {
  EXPECT_TRUE(json::Parse(Nested(json::kMaxDepth)));
  EXPECT_FALSE(json::Parse(Nested(json::kMaxDepth + 1)));
  EXPECT_FALSE(json::Parse(Nested(100'000)));
  EXPECT_FALSE(json::Parse(std::string(100'000, '[')));
  EXPECT_TRUE(json::Parse("\"" + std::string(1000, '[') + "\""));
}

TEST(Json, MalformedTextIsRefused) {
  for (const char* text : {"{", "{\"a\":}", "[1,]", "nul", "\"\xff\"", "\"\xed\xa0\x80\"", "'a'", "\"a\nb\"",
                           "01", "1e999", "NaN", "[1 2]"})
    EXPECT_FALSE(json::Parse(text)) << text;
  EXPECT_FALSE(json::ParseObject("[]"));
  EXPECT_FALSE(json::ParseObject("null"));
}

TEST(Utf8, OnlyWellFormedSequencesAreValid) {
  for (const char* good : {"", "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(utf8::Valid(good)) << good;
  for (const char* bad : {"\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                          "\x80", "\xe2\x82", "a\xff"})
    EXPECT_FALSE(utf8::Valid(bad)) << bad;
}

TEST(Utf8, AStreamMayCutASequenceAnywhere) {
  const std::string text = "a\xe2\x82\xac\xf0\x9f\x98\x80z";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    utf8::StreamDecoder decoder;
    std::string out = decoder.Decode(std::string_view(text).substr(0, cut));
    out += decoder.Decode(std::string_view(text).substr(cut));
    EXPECT_EQ(out + decoder.Finish(), text) << cut;
  }
}

TEST(UserId, IsOneTo256BytesOfTextWithoutControls) {
  for (const std::string& good : {std::string("a"), std::string(256, 'x'), std::string("../etc"),
                                  std::string("a b"), std::string("\xf0\x9f\x98\x80")})
    EXPECT_TRUE(CheckUserId(good)) << good;
  for (const std::string& bad :
       {std::string(), std::string(257, 'x'), std::string("a\0b", 3), std::string("a\nb"),
        std::string("\x7f"), std::string("\xc2\x85"), std::string("\xff")})
    EXPECT_FALSE(CheckUserId(bad)) << bad;
}

TEST(UserId, IdsThatDifferInOneByteShareNoName) {
  const std::string ids[] = {
      "a.b", "a-b", "a_b", "A-b", "a b", "a--b", "a/b", std::string(256, 'x'), std::string(255, 'x')};
  for (const std::string& a : ids)
    for (const std::string& b : ids) EXPECT_EQ(EngineName(a) == EngineName(b), a == b) << a << " " << b;
  for (const std::string& id : ids) {
    EXPECT_LE(EngineName(id).size(), 57u);
    EXPECT_EQ(EngineName(id).find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string::npos);
  }
}

}  // namespace
}  // namespace csb
