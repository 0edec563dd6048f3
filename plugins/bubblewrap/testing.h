// SPDX-License-Identifier: Apache-2.0
//
// testing.h: what the tests of this folder share: a temporary folder that a sandbox's uids can reach,
// and the checks whether this machine can do what a test needs. CSB_MUST_RUN=bubblewrap forbids to skip.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "plugins/common/temporary_folder.h"

namespace csb::bwrap {

inline bool MustRun() {
  const char* names = getenv("CSB_MUST_RUN");
  return names != nullptr && std::string(names).find("bubblewrap") != std::string::npos;
}

inline std::string LibFolder() { return std::string(CSB_TEST_BINARY_DIR) + "/lib/clara-sandbox"; }

}  // namespace csb::bwrap

#define CSB_NEED_ROOT()                                                      \
  do {                                                                       \
    if (geteuid() != 0) {                                                    \
      if (::csb::bwrap::MustRun()) FAIL() << "needs root, and CSB_MUST_RUN"; \
      GTEST_SKIP() << "needs root";                                          \
    }                                                                        \
  } while (false)
