// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/records.h"

#include "plugins/incus/fake_incus_fixture.h"

namespace csb::incus {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

Record Full() {
  return {.user = "al\"ice é\\",
          .instance = "clara-01234567-x-7",
          .generation = 1'700'000'000'000,
          .pool = "fast",
          .volume = "clara-01234567-x",
          .member = "m2",
          .created_at = "2026-11-27T07:00:00.000Z",
          .image = "images:debian/12/cloud",
          .limits = {.memory = 1 << 30, .cpu = 0.25, .pids = 64, .disk = 5, .network = "bridge"},
          .etag = "\"e7\""};
}

void ExpectSame(const Record& a, const Record& b) {
  EXPECT_EQ(a.user, b.user);
  EXPECT_EQ(a.instance, b.instance);
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.pool, b.pool);
  EXPECT_EQ(a.volume, b.volume);
  EXPECT_EQ(a.member, b.member);
  EXPECT_EQ(a.created_at, b.created_at);
  EXPECT_EQ(a.image, b.image);
  EXPECT_EQ(a.limits, b.limits);
}

ProfileInfo ProfileOf(const Record& record) {
  return {"p", ConfigOf(record, "0123456789abcdef"), "\"e7\"", {}};
}

TEST(IncusRecord, SurvivesBeingWrittenDown) {
  const auto read = RecordOf(ProfileOf(Full()));
  ASSERT_TRUE(read) << read.error().message;
  ExpectSame(*read, Full());
  EXPECT_EQ(read->etag, "\"e7\"");
  Record outside = Full();
  outside.member.clear();
  outside.limits = {};
  const auto again = RecordOf(ProfileOf(outside));
  ASSERT_TRUE(again);
  ExpectSame(*again, outside);
  EXPECT_FALSE(ProfileOf(outside).config.contains("user.clara-sandbox.member"));
}

// Instances inherit nothing from it, and the server refuses a key that it does not know.
TEST(IncusRecord, SetsNothingForInstances) {
  for (const auto& [key, value] : ProfileOf(Full()).config)
    EXPECT_TRUE(key.starts_with("user.clara-sandbox.")) << key;
  EXPECT_EQ(ProfileOf(Full()).config.at(kKeyInstallation), "0123456789abcdef");
  EXPECT_EQ(ProfileOf(Full()).config.at(kKeyKind), "record");
}

TEST(IncusRecord, AProfileThatLacksSomethingIsNone) {
  for (const char* key :
       {kKeyUser, "user.clara-sandbox.instance", "user.clara-sandbox.generation", "user.clara-sandbox.pool",
        "user.clara-sandbox.volume", "user.clara-sandbox.limits"}) {
    ProfileInfo profile = ProfileOf(Full());
    for (const bool empty : {false, true}) {
      if (empty)
        profile.config[key] = "";
      else
        profile.config.erase(key);
      const auto none = RecordOf(profile);
      ASSERT_FALSE(none) << key;
      EXPECT_EQ(none.error().code, CSB_E_INTERNAL);
      EXPECT_THAT(none.error().message, HasSubstr("no record"));
      EXPECT_THAT(none.error().hint, HasSubstr("incus profile show p"));
    }
  }
  EXPECT_FALSE(RecordOf(ProfileInfo{}));
}

TEST(IncusRecord, HostileWordsAreNone) {
  const std::pair<const char*, std::string> bad[] = {
      {kKeyUser, "a\nb"},
      {kKeyUser, std::string(10'000, 'u')},
      {"user.clara-sandbox.generation", "-1"},
      {"user.clara-sandbox.generation", "x"},
      {"user.clara-sandbox.generation", "99999999999999999999999"},
      {"user.clara-sandbox.limits", "{"},
      {"user.clara-sandbox.limits", "[]"},
      {"user.clara-sandbox.limits", "\xFF"},
      {"user.clara-sandbox.limits", std::string(100'000, '[')}};
  for (const auto& [key, value] : bad) {
    ProfileInfo profile = ProfileOf(Full());
    profile.config[key] = value;
    EXPECT_FALSE(RecordOf(profile)) << key << "=" << value.substr(0, 40);
  }
  for (const std::string_view hostile : kHostileJson) {
    ProfileInfo profile = ProfileOf(Full());
    profile.config["user.clara-sandbox.limits"] = R"({"memory":)" + std::string(hostile) + "}";
    const auto read = RecordOf(profile);
    EXPECT_TRUE(!read || read->user == Full().user) << hostile;
  }
}

TEST(IncusRecord, CountingBeginsBeyondWhatWas) {
  const uint64_t first = FirstGeneration();
  EXPECT_GT(first, 1'700'000'000'000u);
  EXPECT_LT(first, 10'000'000'000'000u) << "thirteen digits: names have no room for more";
  EXPECT_GE(FirstGeneration(), first);
}

class RecordsTest : public FakeIncusTest {
 protected:
  const Records records_{*engine_, names_};
  const std::string key_ = KeyOf("alice");
};

TEST_F(RecordsTest, AreMadeOnceChangedAndRemoved) {
  Record record = NewRecord("alice");
  EXPECT_EQ(records_.Read(key_).error().code, CSB_E_NOT_FOUND);
  ASSERT_TRUE(records_.Create(key_, record));
  const Status second = records_.Create(key_, record);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, CSB_E_CONFLICT);
  auto read = records_.Read(key_);
  ASSERT_TRUE(read) << read.error().message;
  ExpectSame(*read, record);
  ASSERT_NE(read->etag, "");
  read->generation = 9;
  ASSERT_TRUE(records_.Replace(key_, *read));
  EXPECT_EQ(records_.Read(key_)->generation, 9u);
  // By who has seen it as it was.
  const Status late = records_.Replace(key_, *read);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, CSB_E_CONFLICT);
  ASSERT_TRUE(records_.Remove(key_));
  ASSERT_TRUE(records_.Remove(key_)) << "gone is what was wanted";
  EXPECT_EQ(records_.Replace(key_, *read).error().code, CSB_E_NOT_FOUND);
}

TEST_F(RecordsTest, WhatASomebodyElsesRecordSaysIsNothingToActUpon) {
  server_.Add(ProfileInfo{names_.Record(key_), ConfigOf(NewRecord("mallory"), kInstallation), "", {}});
  const auto read = records_.Read(key_);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, CSB_E_INTERNAL);
  EXPECT_THAT(read.error().message, HasSubstr("another user"));
  bool complete = true;
  EXPECT_THAT(*records_.All(&complete), SizeIs(0));
  EXPECT_FALSE(complete);
}

TEST_F(RecordsTest, AllAreThoseThatCanBeRead) {
  Write(NewRecord("alice"));
  Write(NewRecord("bob"));
  server_.Add(ProfileInfo{"clara-fedcba98-" + key_, {}, "", {}});  // another installation's
  server_.Add(ProfileInfo{"team", {{kKeyUser, "carol"}}, "", {}});
  bool complete = false;
  auto all = records_.All(&complete);
  ASSERT_TRUE(all);
  EXPECT_THAT(*all, SizeIs(2));
  EXPECT_TRUE(complete);
  server_.Add(ProfileInfo{names_.Record(KeyOf("carol")), {}, "", {}});
  EXPECT_THAT(*records_.All(&complete), SizeIs(2));
  EXPECT_FALSE(complete);
  server_.Fail("GET", "/1.0/profiles?", 500, "out of luck");
  EXPECT_FALSE(records_.All(&complete));
}

}  // namespace
}  // namespace csb::incus
