// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/user_environment.h"

namespace csb {

std::vector<std::string> UserEnvironment(std::string_view system_path) {
  return {
      "PATH=/workspace/.local/bin:" + std::string(system_path),
      "HOME=/workspace",
      "USER=sandbox",
      "LOGNAME=sandbox",
      "SHELL=/bin/sh",
      "LANG=C.UTF-8",
      "TMPDIR=/tmp",
      "TERM=dumb",
      // Packages go to the workspace, so that they outlive the sandbox.
      "PYTHONUSERBASE=/workspace/.local",
      "PIP_USER=1",
      "PIP_BREAK_SYSTEM_PACKAGES=1",
      "PIP_DISABLE_PIP_VERSION_CHECK=1",
      "PIP_NO_INPUT=1",
  };
}

}  // namespace csb
