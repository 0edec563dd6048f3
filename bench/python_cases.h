// SPDX-License-Identifier: Apache-2.0
//
// python_cases.h: what a call of Python costs beside a plain interpreter: fresh, in a context, and with
// modules that are loaded ahead. Needs hosts with options of their own.
#pragma once

#include <string>
#include <vector>

#include "bench/row.h"

namespace csb::bench {

struct PythonContext {
  std::string binary;
  int scale;  // samples are divided by this
};

struct PythonCase {
  const char* name;
  std::vector<Row> (*run)(PythonContext&);
};

const std::vector<PythonCase>& PythonCases();

}  // namespace csb::bench
