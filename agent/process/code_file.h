// SPDX-License-Identifier: Apache-2.0
//
// code_file.h: the private folder with the code of one execute, made with the user's file system rights and
// removed with the object.
//
//   CodeFile file;
//   if (int error = file.Create(identity, "__main__.py", code)) return error;
//   Run(file.path());
#pragma once

#include <string>
#include <string_view>

#include "agent/base/fd.h"
#include "agent/process/spawn.h"

namespace csb::agent {

// Makes new files the user's for the life of the object (setfsuid(2): no other right changes, so the user
// cannot signal or trace this process meanwhile; the effective ids where that call does nothing).
class AsUserOnDisk {
 public:
  explicit AsUserOnDisk(const Identity& identity);
  ~AsUserOnDisk();
  bool failed() const { return failed_; }
  AsUserOnDisk(const AsUserOnDisk&) = delete;
  AsUserOnDisk& operator=(const AsUserOnDisk&) = delete;

 private:
  bool separate_;
  bool by_effective_ = false;
  bool failed_ = false;
};

class CodeFile {
 public:
  CodeFile() = default;
  ~CodeFile() { Remove(); }
  CodeFile(const CodeFile&) = delete;
  CodeFile& operator=(const CodeFile&) = delete;

  // In the temporary folder, or in the workspace where that is full. 0 or an errno. `identity` must outlive
  // the object.
  int Create(const Identity& identity, const std::string& name, std::string_view text);
  // Another file in the same folder, in place of the one before. 0 or an errno.
  int Replace(const std::string& name, std::string_view text);
  // Takes the file away, keeps the folder. False: it is not as it was made, somebody has put something there.
  bool Clear();
  // What the code itself put into the folder is the user's and stays.
  void Remove();
  const std::string& path() const { return path_; }

 private:
  int Write(const std::string& name, std::string_view text);
  int CreateIn(std::string folder, const Identity& identity, const std::string& name, std::string_view text);

  const Identity* identity_ = nullptr;
  std::string folder_;
  std::string name_;
  std::string path_;
  Fd dir_;
};

}  // namespace csb::agent
