// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/input_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace csb::http {
namespace {

// As much as fits comes, as from a client that sends faster than we read.
std::string Fill(InputBuffer& buffer, size_t most, char with) {
  const auto [to, size] = buffer.Room(most);
  std::fill_n(to, size, with);
  buffer.Added(size);
  return std::string(size, with);
}

TEST(InputBuffer, GrowsWhileItIsFilledThoughAllIsConsumedAtOnce) {
  InputBuffer buffer(4096);
  for (size_t expected = 4096; expected <= 65536; expected *= 2) {
    EXPECT_EQ(Fill(buffer, 65536, 'x').size(), expected);
    buffer.Consumed(buffer.size());
  }
  EXPECT_EQ(Fill(buffer, 65536, 'x').size(), 65536u) << "no further";
  buffer.Clear();
  buffer.Shrink(4096);
  EXPECT_EQ(buffer.capacity(), 4096u);
}

TEST(InputBuffer, SmallMessagesDoNotMakeItGrow) {
  InputBuffer buffer(4096);
  for (int i = 0; i < 100; ++i) {
    buffer.Room(65536);
    buffer.Added(4095);
    buffer.Consumed(4095);
  }
  EXPECT_EQ(buffer.capacity(), 4096u);
}

TEST(InputBuffer, WhatIsHeldSurvivesMovesAndGrowth) {
  InputBuffer buffer(16);
  std::string held = Fill(buffer, 64, 'a');
  buffer.Consumed(10);
  held.erase(0, 10);
  for (const char with : {'b', 'c', 'd', 'e'}) {
    held += Fill(buffer, 64, with);
    EXPECT_EQ(buffer.view(), held);
    EXPECT_LE(buffer.size(), 64u);
  }
  EXPECT_EQ(buffer.Room(64).second, 0u) << "full";
}

}  // namespace
}  // namespace csb::http
