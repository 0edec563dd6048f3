// SPDX-License-Identifier: Apache-2.0
//
// merge.h: moves a finished tree into a folder that may already hold some of it.
//
//   if (auto fits = MergeTree(staging, destination, MergeStep::kCheck); !fits) return fits;
//   return MergeTree(staging, destination, MergeStep::kMove);
//
// Regular files replace regular files, links replace links or files; folders join folders. A link,
// FIFO, device or socket in the destination is never followed, opened or replaced by a file: that is
// a CSB_E_CONFLICT that names it. Both are renames, so a file is always the old or the new one.
// Recursion is as deep as the staged tree, which its maker bounds.
#pragma once

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

enum class MergeStep { kCheck, kMove };

// `from` and `to` are descriptors of folders on one file system.
Status MergeTree(int from, int to, MergeStep step);

}  // namespace csb::agent
