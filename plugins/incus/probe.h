// SPDX-License-Identifier: Apache-2.0
//
// probe.h: whether a create would work, and what would hold it: the "probe" of docs/operations.md.
#pragma once

#include <string>

#include "plugins/incus/launcher.h"

namespace csb::incus {

std::string Probe(const Options& options, Engine& engine, Launcher& launcher);
// The server can't be asked.
std::string Unavailable(const Options& options, const Error& error);

}  // namespace csb::incus
