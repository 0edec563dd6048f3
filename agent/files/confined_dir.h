// SPDX-License-Identifier: Apache-2.0
//
// confined_dir.h: a folder that no path given to it can leave: no "..", no absolute path, no link
// on the way, also when other processes plant links meanwhile.
//
//   ConfinedDir dir(std::move(fd));
//   auto parent = dir.MakeFolder("a/b");                       // made where missing
//   openat(parent->get(), "c", O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0600);
//
// The kernel confines by openat2(2) (Linux 5.6): RESOLVE_BENEATH, NO_SYMLINKS, NO_MAGICLINKS. Where it
// does not have it (gVisor, older kernels, a seccomp filter), each component is opened by itself with
// O_NOFOLLOW, from the folder before it. Paths are clean names as CleanMemberName makes them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/base/fd.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

enum class Confinement {
  kBest,  // openat2 where the kernel has it
  kWalk,  // always component by component; both ways are tested
};

class ConfinedDir {
 public:
  explicit ConfinedDir(Fd root, Confinement how = Confinement::kBest);

  int root() const { return root_.get(); }
  bool uses_openat2() const { return openat2_; }

  // An O_PATH descriptor of a folder; "" is the root itself. CSB_E_INVALID when a part of the path
  // is a link or no folder, CSB_E_NOT_FOUND when it is missing.
  Result<Fd> OpenFolder(const std::string& path) const;
  // As OpenFolder; makes what is missing, mode 0755 less umask. Adds the number of new ones to `made`.
  Result<Fd> MakeFolder(const std::string& path, uint64_t* made = nullptr) const;

 private:
  int Open(const std::string& path) const;  // descriptor or -errno
  Fd root_;
  bool openat2_;
};

}  // namespace csb::agent
