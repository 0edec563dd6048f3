// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/python_options.h"

#include <algorithm>

namespace csb {
namespace {

bool IsModule(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  });
}

}  // namespace

std::vector<std::string> PythonOptions(const HostRef& host) {
  std::vector<std::string> out = {"--warm-python", std::to_string(host.Number("sandbox.warm_python", 300))};
  const std::string list = host.Text("sandbox.preload");
  std::string modules;
  for (std::string_view rest = list; !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find_first_of(", \t"));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (name.empty()) continue;
    if (!IsModule(name)) {
      host.Log(CSB_LOG_WARN,
               "sandbox.preload: '" + std::string(name.substr(0, 64)) + "' is no module's name");
      continue;
    }
    if (!modules.empty()) modules += ',';
    modules += name;
  }
  if (!modules.empty()) out.insert(out.end(), {"--preload", modules});
  return out;
}

}  // namespace csb
