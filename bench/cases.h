// SPDX-License-Identifier: Apache-2.0
//
// cases.h: the rows of the table. Each case measures its figure and its limit interleaved.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/service.h"

namespace csb::bench {

struct Row {
  std::string what;
  std::string figure;   // "0.93 / 1.40 ms" (median / p99)
  std::string against;  // the limit, measured in the same run
  std::string ratio;
  std::string goal;
  bool failed = false;  // requests failed: the figure is void
};

struct Context {
  Service& service;
  int scale;  // samples are divided by this
};

struct Case {
  const char* name;
  std::vector<Row> (*run)(Context&);
};

const std::vector<Case>& Cases();

}  // namespace csb::bench
