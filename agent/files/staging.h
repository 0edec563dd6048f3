// SPDX-License-Identifier: Apache-2.0
//
// staging.h: a hidden folder for work that shows only once it is done. It is removed with its
// object; one whose process was killed is told by its lock (flock(2)), which nobody holds any more.
//
//   auto staging = Staging::In(folder);
//   openat(staging->fd(), "a", …);
#pragma once

#include <string>

#include "agent/base/fd.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

class Staging {
 public:
  // Makes it in `folder`, mode 0700, and locks it.
  static Result<Staging> In(const Fd& folder, const std::string& shown);
  Staging(Staging&& other) noexcept;
  Staging(const Staging&) = delete;
  ~Staging();
  int fd() const { return dir_.get(); }
  // Removes it now; tells what the destructor could not.
  Status Remove();

 private:
  Staging(Fd folder, Fd dir, std::string name);
  Fd folder_, dir_;
  std::string name_;
};

// Removes temporaries in `folder` that no living process holds: of unzip, and of file_write where
// it could not do without a name. Counts them.
Result<int> RemoveStale(const Fd& folder, const std::string& shown);

}  // namespace csb::agent
