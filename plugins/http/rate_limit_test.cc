// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/rate_limit.h"

#include <gtest/gtest.h>

namespace csb::http {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

TEST(RateLimiter, LetsABurstPassAndThenTheRate) {
  RateLimiter limiter(60);
  for (int i = 0; i < 60; ++i) EXPECT_EQ(limiter.Take("a", kSecond), 0);
  EXPECT_DOUBLE_EQ(limiter.Take("a", kSecond), 1);
  EXPECT_EQ(limiter.Take("b", kSecond), 0) << "another user has an own bucket";
  EXPECT_EQ(limiter.Take("a", 2 * kSecond), 0);
  EXPECT_GT(limiter.Take("a", 2 * kSecond), 0);
  EXPECT_NEAR(limiter.Take("a", 2 * kSecond + kSecond / 4), 0.75, 1e-9);
}

TEST(RateLimiter, NeverSavesMoreThanAMinute) {
  RateLimiter limiter(2);
  EXPECT_EQ(limiter.Take("a", 0), 0);
  EXPECT_EQ(limiter.Take("a", 3600 * kSecond), 0);
  EXPECT_EQ(limiter.Take("a", 3600 * kSecond), 0);
  EXPECT_GT(limiter.Take("a", 3600 * kSecond), 0);
  EXPECT_GT(limiter.Take("a", 0), 0) << "a clock that jumps back gives nothing";
}

TEST(RateLimiter, ZeroIsOff) {
  RateLimiter limiter(0);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(limiter.Take("a", 0), 0);
  EXPECT_EQ(limiter.remembered(), 0u);
}

TEST(RateLimiter, ForgetsTheLongestUnseen) {
  RateLimiter limiter(1, 3);
  limiter.Take("a", 0);
  limiter.Take("b", 0);
  limiter.Take("c", 0);
  EXPECT_GT(limiter.Take("a", 0), 0);
  limiter.Take("d", 0);  // forgets b
  EXPECT_EQ(limiter.remembered(), 3u);
  EXPECT_GT(limiter.Take("a", 0), 0);
  EXPECT_EQ(limiter.Take("b", 0), 0);
  for (int i = 0; i < 1000; ++i) limiter.Take("user" + std::to_string(i), 0);
  EXPECT_EQ(limiter.remembered(), 3u);
}

}  // namespace
}  // namespace csb::http
