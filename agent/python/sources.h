// SPDX-License-Identifier: Apache-2.0
//
// sources.h: the Python that runs in the sandbox beside the user's code; its text is compiled in
// (agent/CMakeLists.txt), so that an image needs nothing of ours.
#pragma once

#include <string_view>

namespace csb::agent {

extern const std::string_view kWarmSource;     // warm.py
extern const std::string_view kContextSource;  // display.py, then context.py

}  // namespace csb::agent
