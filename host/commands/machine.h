// SPDX-License-Identifier: Apache-2.0
//
// machine.h: what `doctor` looks at in the machine itself. Each check looks at one thing and says what to do
// about it; none changes anything.
//
//   for (const Finding& f : CheckUserNamespaces({})) Print(f);
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace csb::host {

struct Finding {
  enum class Level { kOk, kWarn, kFail };
  Level level;
  std::string name;  // "user namespaces"
  std::string text;  // what was found
  std::string hint;  // what to do; empty when all is well
};

using Findings = std::vector<Finding>;

// Where files are read and who asks; tests give a tree of their own.
struct Machine {
  std::string root;                    // before /proc, /sys, /etc
  uid_t uid = static_cast<uid_t>(-1);  // -1: the caller's
};

Findings CheckKernel(const Machine& machine);  // namespaces, seccomp
Findings CheckUserNamespaces(
    const Machine& machine);                    // the sysctls and AppArmor's restriction of Ubuntu 24.04
Findings CheckCgroups(const Machine& machine);  // v2 or v1, and whether we may make groups there
Findings CheckOpenFiles();
Findings CheckBubblewrap();
Findings CheckPython();
// A folder that the host uses or would make: may it be written, is there room.
Finding CheckFolder(const std::string& name, const std::string& path);

}  // namespace csb::host
