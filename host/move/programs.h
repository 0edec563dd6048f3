// SPDX-License-Identifier: Apache-2.0
//
// programs.h: what runs inside the sandboxes between which files are moved: Python that any sandbox with
// `execute` can run, since nothing more is asked of a backend. Each call does a bounded piece of work and
// prints lines of JSON; programs.cc has the formats.
//
//   source.RunPython(ScanProgram(params), 300s)     // what comes next in the tree, and where to go on
//   target.RunPython(PlaceProgram(lines), 300s)     // puts it there, and reads it back
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace csb::host {

inline constexpr std::string_view kWorkspace = "/workspace";
// What is under way lies here, in both sandboxes: a name that users' files cannot have.
inline constexpr std::string_view kStage = "/workspace/.clara-sandbox-move";

struct ScanParams {
  bool contents = true;       // false: only the two chains, over the whole rest
  std::string next = "null";  // JSON, of the scan before; "null" at first
  std::string chain, tree;    // likewise: digests of what was scanned, tree without times
  uint64_t sequence = 0;      // likewise
};

// The target, before: fails (CSB_E_CONFLICT) where there are files.
std::string BeginProgram();
std::string ScanProgram(const ScanParams& params);
std::string PlaceProgram(std::string_view lines);
// The target, after: folders get their permissions and times.
std::string FinishProgram();
// Removes what moving left in the source.
std::string CleanProgram();

}  // namespace csb::host
