// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/post_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>
#include <vector>

#include "clara_sandbox/testing/fake_host.h"

namespace csb {
namespace {

using namespace std::chrono_literals;

TEST(PostLimitTest, OthersHaveTheirTurnWhileItsWorkHangs) {
  testing::FakeHost host({}, 4);
  const auto posts = std::make_shared<PostLimit>(host.ref(), 2);
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  std::atomic<int> done{0}, at_once{0}, most{0};
  std::promise<void> all;
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(posts->Post([&, gone] {
      const int now = ++at_once;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      gone.wait();
      --at_once;
      if (++done == 10) all.set_value();
    }));
  std::promise<void> other;
  ASSERT_TRUE(host.ref().Post([&] { other.set_value(); }));
  EXPECT_EQ(other.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_EQ(done, 0);
  go.set_value();
  ASSERT_EQ(all.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_LE(most, 2);
}

TEST(PostLimitTest, AnExceptionTakesNoPlace) {
  testing::FakeHost host({}, 2);
  const auto posts = std::make_shared<PostLimit>(host.ref(), 1);
  ASSERT_TRUE(posts->Post([] { throw std::runtime_error("oh"); }));
  std::promise<void> next;
  ASSERT_TRUE(posts->Post([&] { next.set_value(); }));
  EXPECT_EQ(next.get_future().wait_for(10s), std::future_status::ready);
}

}  // namespace
}  // namespace csb
