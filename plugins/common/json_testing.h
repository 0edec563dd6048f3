// SPDX-License-Identifier: Apache-2.0
//
// json_testing.h: files and hostile JSON for tests.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/temporary_folder.h"

namespace csb {

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

}  // namespace csb
