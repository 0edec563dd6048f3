// SPDX-License-Identifier: Apache-2.0
//
// testing.h: what the tests of this folder share.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"

namespace csb::docker {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "csb-docker-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) abort();
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

inline void WriteText(const std::string& path, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// Of a text that the test wrote: ends the test program when it is no JSON.
inline json::Document Json(std::string_view text) {
  auto doc = json::Parse(text);
  if (!doc) abort();
  return *std::move(doc);
}

// What readers of JSON have to live with, whatever they expect: each type everywhere, numbers beyond all
// bounds, names that are not text.
inline constexpr std::string_view kHostileJson[] = {
    R"(null)",
    R"(true)",
    R"(-1)",
    R"(1e300)",
    R"(18446744073709551615)",
    R"("text")",
    R"([])",
    R"([null,1,"a",[],{}])",
    R"({})",
    R"({"":{"":""}})",
    R"([[[[[[[[[[]]]]]]]]]])",
};

}  // namespace csb::docker
