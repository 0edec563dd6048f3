// SPDX-License-Identifier: Apache-2.0
#include "host/service/policy.h"

#include <algorithm>

namespace csb::host {

std::vector<std::string> Required(const std::vector<std::string>& require,
                                  const std::vector<std::string>& allow_unenforced, bool public_listener) {
  std::vector<std::string> out = require;
  if (!public_listener) return out;
  const auto in = [](const std::vector<std::string>& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  for (const auto name : kProtections)
    if (!in(allow_unenforced, name) && !in(out, name)) out.emplace_back(name);
  return out;
}

}  // namespace csb::host
