// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/rfc3339.h"

#include <gtest/gtest.h>

namespace csb {
namespace {

using std::chrono::system_clock;

// Seconds since 1970; -1: it is none.
int64_t Seconds(const std::string& text) {
  const auto at = ParseRfc3339(text);
  return at ? std::chrono::duration_cast<std::chrono::seconds>(at->time_since_epoch()).count() : -1;
}

TEST(Rfc3339, WhatEnginesWriteIsRead) {
  EXPECT_EQ(Seconds("2026-11-27T07:00:00Z"), 1795762800);
  EXPECT_EQ(Seconds("2026-11-27T07:00:00.123456789Z"), 1795762800);
  EXPECT_EQ(Seconds("2026-11-27T07:00:00.5Z"), 1795762800);
  EXPECT_EQ(Seconds("2026-11-27T08:00:00+01:00"), 1795762800);
  EXPECT_EQ(Seconds("2026-11-27T01:30:00.25-05:30"), 1795762800);
  EXPECT_EQ(Seconds("2026-11-27T07:00:00+00:00"), 1795762800);
  EXPECT_EQ(Seconds("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(Seconds("2024-02-29T23:59:59Z"), 1709251199);
}

TEST(Rfc3339, WhatIsNoneIsNone) {
  for (const char* bad : {"",
                          "Z",
                          "now",
                          "2026-11-27",
                          "2026-11-27T07:00",
                          "2026-11-27T07:00:00",
                          "2026-11-27 07:00:00Z",
                          "2026-13-27T07:00:00Z",
                          "2026-11-32T07:00:00Z",
                          "2026-11-27T25:00:00Z",
                          "2026-11-27T07:61:00Z",
                          "2026-11-27T07:00:00z",
                          "2026-11-27T07:00:00Zx",
                          "2026-11-27T07:00:00.Z x",
                          "2026-11-27T07:00:00+1",
                          "2026-11-27T07:00:00+",
                          "2026-11-27T07:00:00+01:00x",
                          "2026-11-27T07:00:00+0100",
                          "2026-11-27T07:00:00 +01:00",
                          "\n",
                          "-1"})
    EXPECT_FALSE(ParseRfc3339(bad)) << bad;
  EXPECT_FALSE(ParseRfc3339(std::string("2026-11-27T07:00:00\0Z", 21)));
}

TEST(Rfc3339, WhatIsWrittenIsRead) {
  const auto before = system_clock::now();
  const auto at = ParseRfc3339(Rfc3339Now());
  ASSERT_TRUE(at);
  EXPECT_LE(*at, system_clock::now());
  EXPECT_GT(*at, before - std::chrono::seconds(2));
  EXPECT_EQ(Rfc3339Now().size(), 24u);
}

}  // namespace
}  // namespace csb
