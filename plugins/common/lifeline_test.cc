// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/lifeline.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>

namespace csb {
namespace {

TEST(LifelineTest, NothingBeginsOnceItIsClosed) {
  int object = 0;
  Lifeline<int> line(&object);
  line.With([](int& o) { ++o; });
  line.Close();
  line.With([](int& o) { ++o; });
  EXPECT_EQ(object, 1);
}

TEST(LifelineTest, WhatIsUnderWayIsWaitedFor) {
  int object = 0;
  Lifeline<int> line(&object);
  std::promise<void> begun, go;
  std::thread worker([&] {
    line.With([&](int& o) {
      begun.set_value();
      go.get_future().wait();
      o = 7;
    });
  });
  begun.get_future().wait();
  std::atomic<bool> cut{false};
  std::thread owner([&] {
    line.Cut();
    cut = true;
    EXPECT_EQ(object, 7);
  });
  line.Close();
  EXPECT_FALSE(cut);
  go.set_value();
  owner.join();
  worker.join();
}

TEST(LifelineTest, AnExceptionHoldsNobodyUp) {
  int object = 0;
  Lifeline<int> line(&object);
  EXPECT_THROW(line.With([](int&) { throw std::runtime_error("oh"); }), std::runtime_error);
  line.Cut();
}

}  // namespace
}  // namespace csb
