// SPDX-License-Identifier: Apache-2.0
//
// probe.h: whether a create would work now, and what it would enforce: the engine, its image, its runtime,
// its storage, the way to the agent. Nothing is started; an image is not pulled.
#pragma once

#include <string>

#include "plugins/docker/launcher.h"

namespace csb::docker {

// The probe's result (docs/operations.md). Blocks, at most some calls' limits.
std::string Probe(const Options& options, Engine& engine, Launcher& launcher);

// The result when the engine can't even be asked.
std::string Unavailable(const Options& options, const Error& error);

}  // namespace csb::docker
