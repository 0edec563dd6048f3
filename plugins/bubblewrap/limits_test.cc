// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/limits.h"

#include <gmock/gmock.h>

namespace csb::bwrap {
namespace {

using ::testing::HasSubstr;

TEST(Limits, SizesAreReadAsUsersWriteThem) {
  EXPECT_EQ(*ParseSize("512m"), uint64_t{512} << 20);
  EXPECT_EQ(*ParseSize("512MiB"), uint64_t{512} << 20);
  EXPECT_EQ(*ParseSize("1g"), uint64_t{1} << 30);
  EXPECT_EQ(*ParseSize("1.5G"), uint64_t{3} << 29);
  EXPECT_EQ(*ParseSize("4096"), 4096u);
  EXPECT_EQ(*ParseSize("unlimited"), 0u);
  for (const char* bad : {"", "m", "-1", "1x", "nan", "inf", "1e30", "1 2", "0x10"})
    EXPECT_FALSE(ParseSize(bad)) << bad;
}

TEST(Limits, ACreateMayAskForItsOwn) {
  Limits limits{.memory = 1 << 30, .cpu = 1, .pids = 64, .disk = 0};
  const auto payload = json::ParseObject(R"({"memory_limit":"256m","cpu_limit":0.5})");
  ASSERT_TRUE(ApplyRequestedLimits(*payload, &limits));
  EXPECT_EQ(limits.memory, uint64_t{256} << 20);
  EXPECT_EQ(limits.cpu, 0.5);
  EXPECT_EQ(limits.pids, 64u);
}

TEST(Limits, NonsenseIsRefusedByName) {
  for (const char* text : {R"({"memory_limit":"lots"})", R"({"memory_limit":-1})", R"({"memory_limit":1})",
                           R"({"memory_limit":{}})", R"({"memory_limit":"unlimited"})"}) {
    Limits limits;
    const Status s = ApplyRequestedLimits(*json::ParseObject(text), &limits);
    ASSERT_FALSE(s) << text;
    EXPECT_EQ(s.error().code, CSB_E_INVALID);
    EXPECT_THAT(s.error().message, HasSubstr("memory_limit"));
  }
  for (const char* text :
       {R"({"cpu_limit":0})", R"({"cpu_limit":"two"})", R"({"cpu_limit":1e9})", R"({"cpu_limit":[]})"}) {
    Limits limits;
    const Status s = ApplyRequestedLimits(*json::ParseObject(text), &limits);
    ASSERT_FALSE(s) << text;
    EXPECT_THAT(s.error().message, HasSubstr("cpu_limit"));
  }
}

TEST(Limits, SurviveBeingWrittenDown) {
  const Limits limits{.memory = 1 << 30, .cpu = 0.25, .pids = 7, .disk = 5, .network = Network::kPasta};
  json::Buffer buffer;
  json::Writer writer(buffer);
  WriteLimits(writer, limits);
  EXPECT_EQ(*ReadLimits(*json::ParseObject(buffer.GetString())), limits);
}

}  // namespace
}  // namespace csb::bwrap
