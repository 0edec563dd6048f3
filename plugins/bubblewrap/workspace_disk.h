// SPDX-License-Identifier: Apache-2.0
//
// workspace_disk.h: the bound on a workspace: a sparse ext4 image of its size, which is full when it is
// full. Needs root and loop devices; elsewhere the workspace is a plain folder.
//
//   if (ImagesPossible().empty()) {
//     ImageTemplates templates(state_dir + "/templates");
//     Status made = templates.Make(paths.image(), 1 << 30);   // a copy of a formatted one: no mkfs
//   }
//
// Inodes are bounded with the size (one for 16 KiB). Blocks; any thread, any number of host processes.
#pragma once

#include <cstdint>
#include <string>

#include "clara_sandbox/cpp/result.h"

namespace csb::bwrap {

inline constexpr uint64_t kLeastImage = 8 << 20;

// "" or why this process can't attach images.
std::string ImagesPossible();

class ImageTemplates {
 public:
  explicit ImageTemplates(std::string folder) : folder_(std::move(folder)) {}
  // Formats the template of this size now, so that a later Make only copies.
  Status Prepare(uint64_t bytes) const;
  // Makes `image`; an existing one is kept as it is, whatever its size.
  Status Make(const std::string& image, uint64_t bytes) const;

 private:
  std::string PathOf(uint64_t bytes) const;
  std::string folder_;
};

// Removes a folder that sandboxed code has filled, however deep; follows nothing, leaves the file
// system of the folder never. The sandbox has ended.
Status RemoveTree(const std::string& folder);

}  // namespace csb::bwrap
