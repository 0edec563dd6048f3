// SPDX-License-Identifier: Apache-2.0
//
// rfc3339.h: instants as records and infos hold them.
#pragma once

#include <string>

namespace csb {

// Now, RFC 3339 UTC with milliseconds.
std::string Rfc3339Now();

}  // namespace csb
