// SPDX-License-Identifier: Apache-2.0
#include "bench/row.h"

#include <cstdio>

namespace csb::bench {

std::string Format(const char* format, double a, double b) {
  char text[96];
  snprintf(text, sizeof text, format, a, b);
  return text;
}

std::string Times(const Samples& samples) {
  return Format("%.2f / %.2f ms", samples.Median(), samples.P99());
}

Row Compare(std::string what, const Samples& ours, const Samples& limit, std::string against,
            std::string goal, bool failed) {
  const double ratio = ours.Median() / limit.Median();
  return {std::move(what),
          Times(ours),
          std::move(against) + " " + Times(limit),
          Format(ratio < 0.1 ? "%.3f x" : "%.2f x", ratio),
          std::move(goal),
          failed};
}

}  // namespace csb::bench
