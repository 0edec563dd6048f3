// SPDX-License-Identifier: Apache-2.0
//
// report.h: what holds this process, as one JSON object (docs/agent-protocol.md): bounds, rights, what it can
// reach. Everything is read from the kernel; nothing is taken from how the sandbox was configured.
//
//   puts(Report("/workspace").c_str());
#pragma once

#include <string>

namespace csb::agent {

std::string Report(const std::string& workspace);

}  // namespace csb::agent
