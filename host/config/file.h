// SPDX-License-Identifier: Apache-2.0
//
// file.h: the lines of a configuration file. The file is not trusted to be text, small, or a file.
//
//   [http]
//   port = 8080        # a comment
//
//   auto settings = ParseConfigText("[http]\nport = 8080\n", "example.conf");
//   // {{"http.port", "8080", 2}}
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

inline constexpr size_t kMaxConfigFile = 1 << 20;

struct Setting {
  std::string key;  // with its section: "http.port"
  std::string value;
  unsigned line;
};

// `name` stands in errors, as NAME:LINE. A key that is set twice is an error.
Result<std::vector<Setting>> ParseConfigText(std::string_view text, const std::string& name);

// The whole of a regular file of at most kMaxConfigFile bytes.
Result<std::string> ReadConfigFile(const std::string& path);

}  // namespace csb::host
