// SPDX-License-Identifier: Apache-2.0
//
// log.h: one line on stderr, where the backend picks it up. Never log code, keys or output.
//
//   Log("cannot watch %s: %s", folder, strerror(errno));
#pragma once

namespace csb::agent {

[[gnu::format(printf, 1, 2)]] void Log(const char* format, ...);

}  // namespace csb::agent
