// SPDX-License-Identifier: Apache-2.0
//
// arguments.h: the command line, taken apart.
//
//   clara-sandbox run --timeout 5 --bubblewrap.memory=1g script.py --its-own-option
//                 command  its options  a configuration key     rest
//
// Options stand before the first word that is none; that word and all after it are the rest, untouched. "--"
// ends the options too. An option with a dot in its name is a configuration key and always has a value.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::host {

// An option of a command; static.
struct OptionSpec {
  const char* name;   // "timeout"
  char letter;        // 'c', or 0
  const char* value;  // how help names the value; nullptr for a flag
  const char* help;
};

struct Arguments {
  std::map<std::string, std::string, std::less<>> options;  // a flag's value is "1"; the last one wins
  std::vector<std::pair<std::string, std::string>> keys;    // configuration keys, in order
  std::vector<std::string> rest;
  bool separator = false;  // "--" ended the options

  bool Has(std::string_view name) const { return options.contains(name); }
  std::string Text(std::string_view name) const {
    const auto it = options.find(name);
    return it == options.end() ? std::string() : it->second;
  }
};

// Errors name the option, with the likely one if it is not known.
Result<Arguments> ParseArguments(const std::vector<std::string>& words, std::span<const OptionSpec> specs);

}  // namespace csb::host
