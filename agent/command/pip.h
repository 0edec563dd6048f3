// SPDX-License-Identifier: Apache-2.0
//
// pip.h: checks the one requirement that pip_install takes, so that nothing a caller sends can be
// an option, an address or a second requirement (PEP 508 without markers and direct references,
// PEP 440 versions).
//
//   auto requirement = CheckRequirement("requests[socks]>=2,<3", "/workspace");
//   if (!requirement) return requirement.error();
#pragma once

#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct Requirement {
  std::string text;    // as pip gets it: a name with extras and versions, or an absolute path
  std::string folder;  // of a path: where its dependencies may lie too
};

// Errors are CSB_E_INVALID and name the field `package`.
Result<Requirement> CheckRequirement(std::string_view package, std::string_view workspace);

// True when a network interface other than the loopback has an address.
bool NetworkIsUp();

}  // namespace csb::agent
