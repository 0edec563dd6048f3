// SPDX-License-Identifier: Apache-2.0
//
// info.h: a sandbox as JSON, the "info" of docs/operations.md, and the list of all.
#pragma once

#include <string>

#include "plugins/incus/registry.h"

namespace csb::incus {

// with_usage: asks the engine for the use of memory and processors; where it does not answer they are 0.
std::string InfoOf(Registry& registry, Sandbox& sandbox, bool with_usage);
// Stopped, with files.
std::string InfoOf(Registry& registry, const Record& record);
Result<std::string> List(Registry& registry);

}  // namespace csb::incus
