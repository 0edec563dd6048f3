// SPDX-License-Identifier: Apache-2.0
//
// remove_tree.h: deletes a file or a whole tree, however deep, with a bounded number of open
// descriptors and without ever following a link.
//
//   RemoveOptions all{.recursive = true};
//   if (auto done = RemoveAt(folder, "old", all); !done) Report(done.error());
//
// Levels beyond the bound are reached again through "..", whose identity is compared with the
// folder that was left: a folder moved away meanwhile ends the work with CSB_E_CONFLICT, and
// nothing outside the tree is touched (openat(2), unlinkat(2)).
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct RemoveOptions {
  bool recursive = false;
  bool force_rights = false;  // give itself rights on folders it owns (a tree of its own making)
};

// `name` is one name in `folder` (or a path, for AT_FDCWD); messages call it `shown`.
Status RemoveAt(int folder, const std::string& name, const RemoveOptions& options, const std::string& shown);

}  // namespace csb::agent
