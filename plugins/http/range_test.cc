// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/range.h"

#include <gtest/gtest.h>

namespace csb::http {
namespace {

void Expect(const char* field, uint64_t size, uint64_t offset, uint64_t length) {
  auto range = ParseRange(field);
  ASSERT_TRUE(range) << field;
  auto part = Resolve(*range, size);
  ASSERT_TRUE(part) << field;
  EXPECT_EQ(part->offset, offset) << field;
  EXPECT_EQ(part->length, length) << field;
}

TEST(Range, NamesAPartOfTheFile) {
  Expect("bytes=0-0", 10, 0, 1);
  Expect("bytes=2-5", 10, 2, 4);
  Expect("bytes=2-", 10, 2, 8);
  Expect("bytes=2-99999999999999999999999999", 10, 2, 8);
  Expect("bytes=-3", 10, 7, 3);
  Expect("bytes=-30", 10, 0, 10);
}

TEST(Range, ThatNamesNothingCannotBeSatisfied) {
  for (const char* field : {"bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"}) {
    auto range = ParseRange(field);
    ASSERT_TRUE(range) << field;
    EXPECT_FALSE(Resolve(*range, 10)) << field;
  }
  EXPECT_FALSE(Resolve(*ParseRange("bytes=0-"), 0));
}

TEST(Range, NonsenseAndListsAreIgnored) {
  for (const char* field :
       {"", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "items=0-1", "bytes=0-1,3-4",
        "bytes=+1-2", "bytes= 1-2", "bytes=--1", "bytes=1-2-3", "bytes=0x1-2"})
    EXPECT_FALSE(ParseRange(field)) << field;
}

}  // namespace
}  // namespace csb::http
