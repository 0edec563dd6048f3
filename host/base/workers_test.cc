// SPDX-License-Identifier: Apache-2.0
#include "host/base/workers.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <future>

namespace csb::host {
namespace {

TEST(WorkersTest, StopRunsWhatIsQueuedAndRefusesMore) {
  std::atomic<int> ran{0};
  Workers workers(2);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(workers.Post([&] { ++ran; }));
  workers.Stop();
  EXPECT_EQ(ran, 1000);
  EXPECT_FALSE(workers.Post([&] { ++ran; }));
  workers.Stop();
  EXPECT_EQ(ran, 1000);
}

TEST(WorkersTest, OneBlockedWorkerDoesNotHoldUpTheOther) {
  std::promise<void> go, other;
  auto gate = go.get_future();
  Workers workers(2);
  workers.Post([&] { gate.wait(); });
  workers.Post([&] { other.set_value(); });
  other.get_future().wait();
  go.set_value();
}

TEST(WorkersTest, SignalsAreLeftToTheMainThread) {
  std::promise<bool> blocked;
  Workers workers(1);
  workers.Post([&] {
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    blocked.set_value(sigismember(&mask, SIGTERM) == 1);
  });
  EXPECT_TRUE(blocked.get_future().get());
}

}  // namespace
}  // namespace csb::host
