// SPDX-License-Identifier: Apache-2.0
//
// remote_cases.h: the rows of the backend remote: a call through a host in front of another one, against the
// same call on that one.
#pragma once

#include <vector>

#include "bench/row.h"
#include "bench/service.h"

namespace csb::bench {

struct RemoteContext {
  Service& near;        // on the backend remote, which leads to …
  Service& far;         // … this one
  std::string backend;  // of that one
  int scale;            // samples are divided by this
};

struct RemoteCase {
  const char* name;
  std::vector<Row> (*run)(RemoteContext&);
};

const std::vector<RemoteCase>& RemoteCases();
// What a host needs to use `far`.
std::vector<std::string> RemoteOptions(const Service& far);

}  // namespace csb::bench
