// SPDX-License-Identifier: Apache-2.0
//
// row.h: a line of the table, and how figures are written in it.
#pragma once

#include <string>

#include "bench/measure.h"

namespace csb::bench {

struct Row {
  std::string what;
  std::string figure;   // "0.93 / 1.40 ms" (median / p99)
  std::string against;  // the limit, measured in the same run
  std::string ratio;
  std::string goal;
  bool failed = false;  // requests failed: the figure is void
};

std::string Format(const char* format, double a, double b = 0);
std::string Times(const Samples& samples);
// `what` of ours beside `against`, which the goal is a multiple of.
Row Compare(std::string what, const Samples& ours, const Samples& limit, std::string against,
            std::string goal, bool failed);

}  // namespace csb::bench
