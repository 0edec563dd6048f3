// SPDX-License-Identifier: Apache-2.0
//
// probe.h: can sandboxes be made here, and what would hold them: a real bwrap is started with
// everything a sandbox has but the agent and the workspace.
//
//   std::string result = Probe(options, builder);   // JSON of docs/operations.md; blocks ~20 ms
#pragma once

#include <string>

#include "plugins/bubblewrap/builder.h"
#include "plugins/bubblewrap/options.h"

namespace csb::bwrap {

std::string Probe(const Options& options, Builder& builder);

}  // namespace csb::bwrap
