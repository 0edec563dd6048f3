// SPDX-License-Identifier: Apache-2.0
#include "host/plugin/call.h"

namespace csb::host {

Error Threw(std::string_view plugin, const char* function, const char* what) {
  return {CSB_E_INTERNAL,
          "plugin " + std::string(plugin) + ": " + function + " threw an exception: " + what + " (rule 9)",
          "this is a fault of the plugin; see docs/plugin-contract.md", false};
}

Error ErrorOfPlugin(std::string_view plugin, const char* function, csb_status code, const csb_error& filled) {
  Error error = Error::From(code, filled);
  if (error.message.empty())
    error.message = "plugin " + std::string(plugin) + ": " + function + " failed with code " +
                    std::to_string(code) + " and no message (rule 19)";
  return error;
}

}  // namespace csb::host
