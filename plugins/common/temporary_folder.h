// SPDX-License-Identifier: Apache-2.0
//
// temporary_folder.h: for tests: a folder of their own that goes with the object.
//
//   TemporaryFolder folder;
//   WriteText(folder / "state/record.json", "{}");
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace csb {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "csb-test-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) abort();
    chmod(path.c_str(), 0711);  // uids of sandboxes pass through it
    path_ = path;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace csb
