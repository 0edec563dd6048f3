// SPDX-License-Identifier: Apache-2.0
//
// check_probe.h: what doctor makes of a backend's probe.
//
//   Findings findings;
//   bool can_serve = CheckProbe("incus", R"({"available":true,"reason":"the pool is slow",…})", findings);
//
// One finding for the backend, one for its note, one for each limit that it cannot enforce. `reason` of a
// backend that is not available is why; of one that is available, what an operator should know though it
// works, and `hint` what to do about it.
#pragma once

#include <string>
#include <string_view>

#include "host/commands/machine.h"

namespace csb::host {

// True if the backend can serve. answer: the probe's, in a plugin's words.
bool CheckProbe(const std::string& backend, std::string_view answer, Findings& findings);

}  // namespace csb::host
