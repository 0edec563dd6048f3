// SPDX-License-Identifier: Apache-2.0
//
// complete.h: what a shell may offer for the last word of a command line.
//
//   Completions({"run", "--ba"}, schema, plugins)   // {"--backend"}
#pragma once

#include <map>
#include <string>
#include <vector>

#include "host/config/schema.h"

namespace csb::host {

struct CompletionView {
  const Schema* schema = nullptr;                                   // the keys and their values; may be null
  std::vector<std::string> backends;                                // that were found
  std::map<std::string, std::vector<std::string>> plugin_commands;  // {"incus": {"trust"}}
};

// words: all behind "clara-sandbox" up to the cursor; the last one is unfinished, perhaps empty. What ends in
// "=" wants a value right behind it. Nothing: a file's name may stand here, or the program's own words.
std::vector<std::string> Completions(const std::vector<std::string>& words, const CompletionView& view);

}  // namespace csb::host
