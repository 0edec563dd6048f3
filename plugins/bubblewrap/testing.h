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

namespace csb::bwrap {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "csb-bwrap-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) abort();
    chmod(path.c_str(), 0711);
    path_ = path;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

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
