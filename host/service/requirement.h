// SPDX-License-Identifier: Apache-2.0
//
// requirement.h: what may be given to `pip install` as its one argument. A grammar, not a list of
// bad strings: nothing that it accepts begins with '-', has a scheme, or is more than one word to pip.
//
//   CheckRequirement("numpy");                      // ok
//   CheckRequirement("requests[socks] >=2.31,<3");  // ok
//   CheckRequirement("wheels/demo-1.0-py3-none-any.whl");  // ok: a wheel inside the sandbox
//   CheckRequirement("--index-url=http://x y");     // CSB_E_INVALID "package: …"
//
// Source: PEP 508 (names, extras), PEP 440 (specifiers). Left out on purpose: URLs, `name @ url`,
// markers after ';', source archives, requirement files.
#pragma once

#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

inline constexpr size_t kMaxRequirement = 1024;  // bytes; a wheel's path may have 4,096

// `text` without surrounding blanks.
Status CheckRequirement(std::string_view text);

}  // namespace csb::host
