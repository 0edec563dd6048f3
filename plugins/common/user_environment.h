// SPDX-License-Identifier: Apache-2.0
//
// user_environment.h: the environment of user code in a sandbox, the same whatever the backend: nothing of
// the host's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace csb {

inline constexpr std::string_view kSystemPath =
    "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

// "NAME=value" each; what the user installs comes before system_path.
std::vector<std::string> UserEnvironment(std::string_view system_path = kSystemPath);

}  // namespace csb
