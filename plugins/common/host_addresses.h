// SPDX-License-Identifier: Apache-2.0
//
// host_addresses.h: this machine's own addresses, as ranges that sandboxes must not reach.
#pragma once

#include <string>

namespace csb {

// `ranges` (comma separated CIDR) and each address of this machine beyond loopback that none of them covers
// by name; those of a family or form that can't be told are left out.
std::string WithHostAddresses(std::string ranges);

}  // namespace csb
