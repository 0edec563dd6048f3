// SPDX-License-Identifier: Apache-2.0
#include "host/base/workers.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <future>

namespace csb::host {
namespace {

TEST(WorkersTest, StopRunsWhatIsQueuedAndRefusesMore) {
  Workers workers(2);
  std::atomic<int> ran{0};
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(workers.Post([&] { ++ran; }));
  workers.Stop();
  EXPECT_EQ(ran, 1000);
  EXPECT_FALSE(workers.Post([&] { ++ran; }));
  workers.Stop();
  EXPECT_EQ(ran, 1000);
}

TEST(WorkersTest, OneBlockedWorkerDoesNotHoldUpTheOther) {
  Workers workers(2);
  std::promise<void> go;
  auto gate = go.get_future();
  workers.Post([&] { gate.wait(); });
  std::promise<void> other;
  workers.Post([&] { other.set_value(); });
  other.get_future().wait();
  go.set_value();
}

TEST(WorkersTest, SignalsAreLeftToTheMainThread) {
  Workers workers(1);
  std::promise<bool> blocked;
  workers.Post([&] {
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    blocked.set_value(sigismember(&mask, SIGTERM) == 1);
  });
  EXPECT_TRUE(blocked.get_future().get());
}

}  // namespace
}  // namespace csb::host
