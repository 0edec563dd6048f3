// SPDX-License-Identifier: Apache-2.0
#include "plugins/bubblewrap/uid_pair.h"

#include <gmock/gmock.h>

#include <set>

#include "plugins/bubblewrap/testing.h"

namespace csb::bwrap {
namespace {

TEST(UidRange, RefusesWhatTheSystemOwns) {
  EXPECT_TRUE(UidRange::Parse("1900000000:200000000"));
  for (const char* bad :
       {"0:10", "999:10", "1000", "1000:", ":10", "1000:1", "4294967290:10", "a:b", "1000:10 "})
    EXPECT_FALSE(UidRange::Parse(bad)) << bad;
}

TEST(UidRange, KnowsWhetherThisSystemHasIt) {
  const UidRange range{20'000, 1'000};
  EXPECT_TRUE(range.MappedBy("         0          0 4294967295\n"));
  EXPECT_TRUE(range.MappedBy("0 100000 65536\n"));
  EXPECT_FALSE(range.MappedBy("0 1000 1\n"));
  EXPECT_FALSE(range.MappedBy("0 1000 20500\n"));
}

TEST(UidPairs, APairStaysWithItsUserAndIsNobodyElses) {
  TemporaryFolder folder;
  const UidPairs pairs(folder / "uids", {50'000, 40});
  std::set<uid_t> seen;
  for (int i = 0; i < 20; ++i) {
    const auto pair = pairs.Claim("user-" + std::to_string(i));
    ASSERT_TRUE(pair);
    EXPECT_TRUE(seen.insert(pair->agent).second);
    EXPECT_TRUE(seen.insert(pair->user).second);
    EXPECT_EQ(*pairs.Claim("user-" + std::to_string(i)), *pair);
  }
  const auto full = pairs.Claim("one-too-many");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, CSB_E_NO_CAPACITY);
  const UidPair seventh = *pairs.Claim("user-7");
  EXPECT_TRUE(pairs.Release("somebody-else", seventh));
  EXPECT_FALSE(pairs.Claim("one-too-many"));
  EXPECT_TRUE(pairs.Release("user-7", seventh));
  EXPECT_EQ(*pairs.Claim("one-too-many"), seventh);
}

}  // namespace
}  // namespace csb::bwrap
