// SPDX-License-Identifier: Apache-2.0
#include "host/base/timers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace csb::host {
namespace {

using namespace std::chrono_literals;
using Clock = Timers::Clock;

TEST(TimersTest, RunsInOrderOfTimeWhateverTheOrderOfAsking) {
  std::vector<int> order;
  std::promise<void> last;
  Timers timers;  // last: joins before the rest goes
  const auto start = Clock::now();
  timers.At(start + 60ms, [&] {
    order.push_back(3);
    last.set_value();
  });
  timers.At(start + 20ms, [&] { order.push_back(1); });
  timers.At(start + 40ms, [&] { order.push_back(2); });
  timers.At(start - 1h, [&] { order.push_back(0); });
  last.get_future().wait();
  EXPECT_GE(Clock::now(), start + 60ms);
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(timers.pending(), 0u);
}

TEST(TimersTest, ACancelledTimerNeverRuns) {
  std::atomic<int> ran{0};
  std::promise<void> after;
  Timers timers;
  const auto cancelled = timers.At(Clock::now() + 10ms, [&] { ++ran; });
  EXPECT_TRUE(timers.Cancel(cancelled));
  EXPECT_FALSE(timers.Cancel(cancelled));
  EXPECT_FALSE(timers.Cancel(0));
  const auto id = timers.At(Clock::now() + 30ms, [&] { after.set_value(); });
  EXPECT_NE(id, cancelled);
  after.get_future().wait();
  EXPECT_EQ(ran, 0);
  EXPECT_FALSE(timers.Cancel(id));
}

TEST(TimersTest, ATimerMaySetAndCancelTimers) {
  std::promise<void> second;
  Timers timers;
  Timers::Id doomed = timers.At(Clock::now() + 1h, [] {});
  timers.At(Clock::now(), [&] {
    EXPECT_TRUE(timers.Cancel(doomed));
    timers.At(Clock::now() + 1ms, [&] { second.set_value(); });
  });
  second.get_future().wait();
}

TEST(TimersTest, StopDropsWhatIsPending) {
  Timers timers;
  const auto held = std::make_shared<int>();
  timers.At(Clock::now() + 1h, [held] {});
  EXPECT_EQ(held.use_count(), 2);
  timers.Stop();
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(timers.At(Clock::now(), [] {}), 0u);
  timers.Stop();
}

TEST(TimersTest, ManyThreadsSetAndCancel) {
  std::atomic<int> ran{0};
  std::atomic<int> stopped{0};
  std::promise<void> end;
  Timers timers;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const auto id = timers.At(Clock::now() + std::chrono::microseconds(i % 50), [&] { ++ran; });
        if (i % 2 == 0 && timers.Cancel(id)) ++stopped;
      }
    });
  for (auto& thread : threads) thread.join();
  timers.At(Clock::now() + 10ms, [&] { end.set_value(); });
  end.get_future().wait();
  EXPECT_EQ(ran + stopped, 8000);
}

}  // namespace
}  // namespace csb::host
