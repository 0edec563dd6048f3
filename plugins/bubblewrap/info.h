// SPDX-License-Identifier: Apache-2.0
//
// info.h: a sandbox as JSON, the "info" of docs/operations.md.
#pragma once

#include <string>

#include "clara_sandbox/cpp/json.h"
#include "plugins/bubblewrap/record.h"
#include "plugins/bubblewrap/sandbox.h"

namespace csb::bwrap {

// Reads the memory and processor use from the kernel.
void WriteInfo(json::Writer& writer, Sandbox& sandbox);
// One that this process is not connected to: its use of processors is not told.
void WriteListedInfo(json::Writer& writer, const LiveRecord& live, const std::string& name,
                     const Enforced& enforced);
// Files without a live sandbox.
void WriteStoppedInfo(json::Writer& writer, const UserRecord& record, const std::string& name,
                      const Limits& limits);

}  // namespace csb::bwrap
