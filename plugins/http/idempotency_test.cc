// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/idempotency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace csb::http {
namespace {

using ::testing::HasSubstr;
using Found = Idempotency::Found;

const Digest kTarget = Sha256("target"), kBody = Sha256("body");

class IdempotencyTest : public ::testing::Test {
 protected:
  Found Begin(const std::string& scope, uint64_t now = 0) { return memory_.Begin(scope, kTarget, now); }
  // Answered with that many bytes.
  std::shared_ptr<Idempotency::Entry> Ended(const std::string& scope, size_t bytes, uint64_t now = 0) {
    auto entry = Begin(scope, now).entry;
    EXPECT_TRUE(memory_.Grow(bytes));
    memory_.End(entry, kBody, KeptAnswer{200, kJson, "", std::string(bytes, 'x')}, now);
    return entry;
  }
  Idempotency memory_{{.entries = 3, .answer_bytes = 100, .all_bytes = 100, .keep_ns = 1000}};
};

TEST_F(IdempotencyTest, KeysAreVisibleAscii) {
  for (const std::string& good : {std::string("a"), std::string("\"8e03978e-40d5\""), std::string(128, '~')})
    EXPECT_TRUE(IsIdempotencyKey(good)) << good;
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("\xC3\xA4"),
                                 std::string(129, 'a'), std::string("\x7F")})
    EXPECT_FALSE(IsIdempotencyKey(bad)) << bad;
}

TEST_F(IdempotencyTest, HashesPiecesAsTheWhole) {
  RequestHash hash("a");
  hash.Add("b");
  hash.Add("");
  hash.Add("c");
  EXPECT_EQ(hash.Finish(), Sha256("abc"));
}

TEST_F(IdempotencyTest, TheFirstIsNewAndLaterOnesAreNot) {
  const Found first = Begin("a");
  EXPECT_EQ(first.state, Found::kNew);
  EXPECT_EQ(Begin("a").state, Found::kUnderWay);
  EXPECT_EQ(memory_.Begin("a", Sha256("other"), 0).state, Found::kOther);
  EXPECT_EQ(Begin("b").state, Found::kNew);
  ASSERT_TRUE(memory_.Grow(4));
  memory_.End(first.entry, kBody, KeptAnswer{201, kNdjson, "A: b\r\n", "body"}, 1);
  const Found later = Begin("a", 2);
  ASSERT_EQ(later.state, Found::kEnded);
  const Reply reply = memory_.Recall(*later.entry, kBody);
  EXPECT_EQ(reply.status, 201);
  EXPECT_EQ(reply.content_type, kNdjson);
  EXPECT_EQ(reply.fields, "A: b\r\nIdempotency-Replayed: true\r\n");
  EXPECT_EQ(reply.body, "body");
  const Reply other = memory_.Recall(*later.entry, Sha256("other"));
  EXPECT_EQ(other.status, 422);
  EXPECT_THAT(other.body, HasSubstr("Idempotency-Key: was used for a request with another body"));
}

TEST_F(IdempotencyTest, WhatDidNothingIsForgotten) {
  memory_.Forget(Begin("a").entry);
  EXPECT_EQ(Begin("a").state, Found::kNew);
}

TEST_F(IdempotencyTest, AnAnswerThatWasTooLargeIsTold) {
  const auto entry = Begin("a").entry;
  memory_.End(entry, kBody, std::nullopt, 0);
  const Reply reply = memory_.Recall(*entry, kBody);
  EXPECT_EQ(reply.status, 409);
  EXPECT_THAT(reply.body,
              HasSubstr("was answered, but the answer is too large to be kept; nothing was run again"));
  EXPECT_THAT(reply.body, HasSubstr(R"("code":"gone")"));
  EXPECT_EQ(memory_.Recall(*entry, Sha256("other")).status, 422);
}

TEST_F(IdempotencyTest, EntriesEndWithTheirTime) {
  Ended("a", 60, 0);
  Ended("b", 40, 500);
  EXPECT_EQ(Begin("a", 999).state, Found::kEnded);
  EXPECT_EQ(Begin("a", 1000).state, Found::kNew);
  EXPECT_EQ(Begin("b", 1000).state, Found::kEnded);
  EXPECT_TRUE(memory_.Grow(60)) << "the memory came back";
}

TEST_F(IdempotencyTest, TheOldestEndedEntryGoesFirst) {
  const auto under_way = Begin("a").entry;
  Ended("b", 1);
  Ended("c", 1);
  EXPECT_EQ(Begin("d").state, Found::kNew);
  EXPECT_EQ(Begin("a").state, Found::kUnderWay) << "what is under way stays";
  EXPECT_EQ(Begin("c").state, Found::kEnded);
  EXPECT_EQ(Begin("b").state, Found::kNew) << "in the place of c";
  EXPECT_EQ(Begin("e").state, Found::kFull);
  memory_.Forget(under_way);
  EXPECT_EQ(Begin("e").state, Found::kNew);
}

TEST_F(IdempotencyTest, OfTheMemoryOnlyTheOldestAnswersGo) {
  const auto a = Ended("a", 60), b = Ended("b", 40);
  EXPECT_TRUE(memory_.Grow(50));
  EXPECT_EQ(Begin("a").state, Found::kEnded) << "it is not done again";
  const Reply reply = memory_.Recall(*a, kBody);
  EXPECT_EQ(reply.status, 409);
  EXPECT_THAT(reply.body, HasSubstr("was answered, but the answer is kept no longer; nothing was run again"));
  EXPECT_EQ(memory_.Recall(*b, kBody).body.size(), 40u);
  EXPECT_TRUE(memory_.Grow(30));
  EXPECT_EQ(memory_.Recall(*b, kBody).status, 409);
  EXPECT_FALSE(memory_.Grow(21)) << "what is being recorded stays";
  memory_.GiveBack(80);
  EXPECT_TRUE(memory_.Grow(100));
}

}  // namespace
}  // namespace csb::http
