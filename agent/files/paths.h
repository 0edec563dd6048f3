// SPDX-License-Identifier: Apache-2.0
//
// paths.h: the parts of a path, and folders made on the way to it. Resolution itself is the
// kernel's, with the user's rights.
//
//   MadeFolders made;
//   auto dir = made.Make("a/b");      // open descriptor of a/b
//   made.Keep();                      // else the new ones are removed again
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/base/fd.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

// "a/b/" -> "b", "/" -> "", "a" -> "a"
std::string_view LastName(std::string_view path);
// "a/b" -> "a", "a" -> ".", "/a" -> "/", "/" -> "/"
std::string FolderOf(std::string_view path);

// Opens the nearest folder on the way to `path` that exists (the path itself first): the place for
// a temporary that is renamed to `path` later. `path` may be relative to the working directory.
Result<Fd> OpenNearestFolder(const std::string& path, std::string* found = nullptr);

class MadeFolders {
 public:
  MadeFolders() = default;
  MadeFolders(const MadeFolders&) = delete;
  ~MadeFolders();  // removes what was made, unless kept; folders that got content stay
  Result<Fd> Make(const std::string& path);
  void Keep() { made_.clear(); }

 private:
  std::vector<std::string> made_;
};

// Prefix of what file_write may leave when it is killed.
inline constexpr std::string_view kWritePrefix = ".csb-write-";

// A hidden name for a temporary beside its target: prefix, process id, random hex.
std::string TemporaryName(std::string_view prefix);

}  // namespace csb::agent
