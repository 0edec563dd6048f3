// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/record.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "plugins/common/json_testing.h"

namespace csb::docker {
namespace {

class RecordTest : public ::testing::Test {
 protected:
  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "record.json";
};

TEST_F(RecordTest, SurvivesBeingWrittenDown) {
  const Record record{"a \"user\" é",
                      "volume",
                      "",
                      "53e3",
                      "2026-11-27T00:00:00Z",
                      "image:1",
                      {1 << 30, 0.5, 64, 7, "bridge"}};
  ASSERT_TRUE(WriteRecord(path_, record));
  const auto read = ReadRecord(path_);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->user, record.user);
  EXPECT_EQ(read->volume, record.volume);
  EXPECT_EQ(read->folder, "");
  EXPECT_EQ(read->container, record.container);
  EXPECT_EQ(read->created_at, record.created_at);
  EXPECT_EQ(read->image, record.image);
  EXPECT_EQ(read->limits, record.limits);
  struct stat info {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u) << "user ids are nobody else's business";
}

TEST_F(RecordTest, NoneAndAnEmptyOneAreTheSame) {
  EXPECT_EQ(ReadRecord(path_).error().code, CSB_E_NOT_FOUND);
  WriteText(path_, "");
  EXPECT_EQ(ReadRecord(path_).error().code, CSB_E_NOT_FOUND);
}

TEST_F(RecordTest, AnUnreadableOneIsNotTakenForNone) {
  for (const char* text : {"{", "[]", "{}", "null", R"({"user":""})", R"({"user":7,"volume":"v"})",
                           R"({"user":"a\u0007b","volume":"v"})"}) {
    WriteText(path_, text);
    const auto read = ReadRecord(path_);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, CSB_E_INTERNAL) << text;
    EXPECT_NE(read.error().message.find(path_), std::string::npos);
  }
}

TEST_F(RecordTest, MembersOfOtherTypesReadAsEmpty) {
  WriteText(path_, R"({"user":"alice","volume":7,"folder":[],"container":null,"limits":"many","image":{}})");
  const auto read = ReadRecord(path_);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->user, "alice");
  EXPECT_EQ(read->volume + read->folder + read->container + read->image, "");
  EXPECT_EQ(read->limits, Limits{});
}

}  // namespace
}  // namespace csb::docker
