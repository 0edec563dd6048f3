// SPDX-License-Identifier: Apache-2.0
//
// etc_folder.h: the /etc of every sandbox: made, small, and with nothing of the host's own but the
// linker's cache, the time zone, and, when there is a network, name servers and certificates.
//
//   auto etc = MakeEtcFolder("/run/clara-sandbox", {.network = false});
//   Bind(etc->folder, "/etc");
#pragma once

#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::bwrap {

struct EtcOptions {
  bool network = false;
  std::string resolv_conf;  // content; "" copies the host's when there is a network
};

struct EtcFolder {
  std::string folder;
  std::vector<std::string> binds;  // folders of the host's /etc to be bound read-only over empty ones
};

// Folders are named by their content and never changed, so host processes share them without a lock.
Result<EtcFolder> MakeEtcFolder(const std::string& parent, const EtcOptions& options);

}  // namespace csb::bwrap
