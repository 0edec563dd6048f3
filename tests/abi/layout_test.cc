// SPDX-License-Identifier: Apache-2.0
//
// The headers and their layout as C++20, pedantic, and how CSB_HAS tells old structs from new.
#include <gtest/gtest.h>

#include "tests/abi/layout.inc"
#include "tests/abi/layout_c.h"

namespace {

const void* NoExtension(const csb_host*, const char*) { return nullptr; }

TEST(LayoutTest, CsbHasNeedsSizeAndValue) {
  csb_host host{};
  host.struct_size = sizeof(csb_host);
  EXPECT_FALSE(CSB_HAS(&host, get_extension));
  EXPECT_EQ(csb_test_has(&host), 0);
  host.get_extension = &NoExtension;
  EXPECT_TRUE(CSB_HAS(&host, get_extension));
  EXPECT_EQ(csb_test_has(&host), 1);
  host.struct_size = offsetof(csb_host, get_extension);  // an older host: the field is not there
  EXPECT_FALSE(CSB_HAS(&host, get_extension));
  EXPECT_EQ(csb_test_has(&host), 0);
  EXPECT_EQ(csb_test_has(nullptr), 0);
}

}  // namespace
