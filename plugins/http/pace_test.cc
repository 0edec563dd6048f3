// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/pace.h"

#include <gtest/gtest.h>

namespace csb::http {
namespace {

using std::chrono::seconds;

TEST(Pace, ATrickleRunsOutOfTime) {
  const Pace::Clock::time_point t0{};
  Pace pace(10, 100);
  EXPECT_FALSE(pace.deadline());
  pace.Start(t0);
  EXPECT_EQ(*pace.deadline(), t0 + seconds(10));
  for (int i = 1; i <= 9; ++i) pace.Moved(1, t0 + seconds(i));
  EXPECT_LT(*pace.deadline(), t0 + seconds(11));
}

TEST(Pace, ASteadyTransferDoesNot) {
  const Pace::Clock::time_point t0{};
  Pace pace(10, 100);
  pace.Start(t0);
  for (int i = 1; i <= 1000; ++i) {
    EXPECT_GT(*pace.deadline(), t0 + seconds(i)) << i;
    pace.Moved(100, t0 + seconds(i));
  }
}

TEST(Pace, SpeedIsNotSaved) {
  const Pace::Clock::time_point t0{};
  Pace pace(10, 100);
  pace.Start(t0);
  pace.Moved(1'000'000'000, t0 + seconds(1));
  EXPECT_EQ(*pace.deadline(), t0 + seconds(11));
  pace.Stop();
  EXPECT_FALSE(pace.deadline());
}

}  // namespace
}  // namespace csb::http
