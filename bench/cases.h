// SPDX-License-Identifier: Apache-2.0
//
// cases.h: the rows of the table. Each case measures its figure and its limit interleaved.
#pragma once

#include <vector>

#include "bench/row.h"
#include "bench/service.h"

namespace csb::bench {

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
