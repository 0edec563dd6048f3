// SPDX-License-Identifier: Apache-2.0
//
// descriptor.h: checks what a plugin says of itself before anything of it is used. Fields are
// read only after struct_size has shown that they are there.
//
//   if (Status s = CheckDescriptor(path, entry()); !s) return s.error();
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/backend.h"
#include "clara_sandbox/command.h"
#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/frontend.h"
#include "clara_sandbox/plugin.h"

namespace csb::host {

// Declared in loader.h: Status CheckDescriptor(const std::string& path, const csb_plugin*).

// The tables behind an interface; `plugin` stands in the message. null is an error, too.
Status CheckBackendTable(std::string_view plugin, const csb_backend_v1* table);
Status CheckFrontendTable(std::string_view plugin, const csb_frontend_v1* table);
Status CheckCommandTable(std::string_view plugin, const csb_command_v1* table);

}  // namespace csb::host
