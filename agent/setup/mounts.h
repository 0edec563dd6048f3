// SPDX-License-Identifier: Apache-2.0
//
// mounts.h: what LXC puts into every container of the machine it runs on, taken from those inside while the
// agent still may (CAP_SYS_ADMIN in the container's own user namespace).
//
//   if (auto closed = MakeMountsReadOnly("fuse.lxcfs"); !closed) return closed;
//   if (auto hidden = HideFiles({"/dev/fuse", "/dev/net/tun", "/proc/keys"}); !hidden) return hidden;
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

// Where mountinfo (proc_pid_mountinfo(5)) has a mount of this type that can be written to, with the flags of
// mount(2) that a change of it has to keep.
struct WritableMount {
  std::string path;
  unsigned long flags = 0;
};
std::vector<WritableMount> WritableMounts(std::string_view mountinfo, std::string_view type);

// All mounts of this type, for everybody who sees them. lxcfs hands what is written to its
// /sys/devices/system/cpu on to the machine's own files as the machine's root, whoever wrote it: so could any
// user inside turn processors off.
Status MakeMountsReadOnly(std::string_view type);

// /dev/null stands in the place of each of them that exists.
Status HideFiles(const std::vector<std::string>& paths);

}  // namespace csb::agent
