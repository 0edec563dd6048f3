// SPDX-License-Identifier: Apache-2.0
//
// tools.h: what every instance needs inside: the agent, and the program that filters system calls. As a
// folder of this machine that is mounted where the engine sees it, else as bytes to push.
//
//   Tools tools(options, names);
//   auto folder = tools.Folder();        // "/var/lib/clara-sandbox/incus/tools/1f…"
#pragma once

#include <mutex>
#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/incus/names.h"
#include "plugins/incus/options.h"

namespace csb::incus {

class Tools {
 public:
  Tools(const Options& options, const Names& names) : options_(options), names_(names) {}

  // Named after its contents, so that one which is mounted is never changed. Made on first use.
  Result<std::string> Folder();
  struct Contents {
    std::string agent, seccomp;
  };
  Result<Contents> Read();
  // Of the contents: what names folders and volumes.
  Result<std::string> Digest();

 private:
  const Options& options_;
  const Names& names_;
  std::mutex mutex_;
  std::string folder_, digest_;
};

}  // namespace csb::incus
