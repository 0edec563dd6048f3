// SPDX-License-Identifier: Apache-2.0
#include "host/commands/commands.h"

#include <cstdio>
#include <string_view>

namespace csb::host {

int Main(int argc, char** argv) noexcept {
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    std::puts("clara-sandbox " CSB_VERSION);
    return kExitOk;
  }
  std::fputs("usage: clara-sandbox COMMAND\n", stderr);
  return kExitUsage;
}

}  // namespace csb::host
