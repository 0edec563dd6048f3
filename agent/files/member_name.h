// SPDX-License-Identifier: Apache-2.0
//
// member_name.h: may a member of an archive have this name, and a link this target? Pure text,
// compared component by component; nothing here looks at the file system.
//
//   auto name = CleanMemberName("./a//b/", {});     // "a/b"
//   auto bad  = CleanMemberName("../b", {});        // "contains .."
//
// Why link targets may have ".." in front only: a member's name never goes through a link, so its
// folder is a real one and the leading ".." are exact. After them only ordinary names follow, which
// may pass links that obey the same rule; by induction none leaves. A ".." behind a name could
// follow a link to a shallower place, where counting components no longer tells the truth.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct NameLimits {
  size_t depth = 64;  // components
};

// The prefix of temporary folders; no member may have it in front.
inline constexpr std::string_view kStagingPrefix = ".csb-unzip-";

// "a/b" without ".", empty components and slashes at the end; "" for the destination itself. The
// error's message is the reason alone ("absolute name"), CSB_E_INVALID.
Result<std::string> CleanMemberName(std::string_view name, const NameLimits& limits);

// Fine when a symbolic link at `member` (a clean name) with `target` stays in the destination.
Status CheckLinkTarget(std::string_view member, std::string_view target);

}  // namespace csb::agent
