// SPDX-License-Identifier: Apache-2.0
//
// is_init.h: whether a process of this machine is an instance's process 1, as the kernel tells: the first of
// its pid namespace, in the control group that LXC makes for the instance's payload. Asking the engine for
// the pid would cost 33 ms.
//
//   auto sandbox = EngineSandbox::Listen(…, IsInitOf("default", "clara-1f…"));
#pragma once

#include <string>
#include <string_view>

#include "plugins/common/engine_sandbox.h"

namespace csb::incus {

EngineSandbox::IsInit IsInitOf(const std::string& project, const std::string& instance);

// From the texts of /proc/PID/status and /proc/PID/cgroup. lxc_name: "clara-1f…", or with another project
// than default "project_clara-1f…".
bool IsInit(std::string_view status, std::string_view cgroup, std::string_view lxc_name);

}  // namespace csb::incus
