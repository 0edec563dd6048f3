// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/tail_buffer.h"

#include <gtest/gtest.h>

#include <random>

namespace csb::agent {
namespace {

std::string Empty(TailBuffer& tail) {
  std::string text;
  while (tail.size() > 0) {
    const std::string_view front = tail.Front();
    text.append(front.substr(0, 3));
    tail.Remove(std::min<size_t>(front.size(), 3));
  }
  return text;
}

TEST(TailBuffer, KeepsTheLastBytesWhateverThePieces) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    const size_t limit = random() % 20;
    TailBuffer tail(limit);
    std::string all;
    for (size_t pieces = random() % 12; pieces > 0; --pieces) {
      std::string piece;
      for (size_t n = random() % 15; n > 0; --n) piece += static_cast<char>('a' + random() % 26);
      tail.Append(piece);
      all += piece;
    }
    const size_t kept = std::min(limit, all.size());
    EXPECT_EQ(tail.dropped(), all.size() - kept);
    EXPECT_EQ(tail.size(), kept);
    EXPECT_EQ(Empty(tail), all.substr(all.size() - kept)) << "limit " << limit;
  }
}

}  // namespace
}  // namespace csb::agent
