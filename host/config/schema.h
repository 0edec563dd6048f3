// SPDX-License-Identifier: Apache-2.0
//
// schema.h: every option there is: the host's own and those of the plugins found. One declaration serves the
// file, the environment, the command line, `config show` and the documentation.
//
//   Schema schema;
//   schema.Add("host", HostOptions());
//   schema.Add("http", {descriptor->options, descriptor->option_count});
//   const Option* port = schema.Find("http.port");
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/config/value.h"

namespace csb::host {

struct Option {
  std::string owner;  // "host" or the plugin's name
  std::string key;    // "http.port"
  ValueType type;
  std::vector<std::string> env;              // environment names, the first one set wins
  std::optional<std::string> default_value;  // as a user would write it
  std::string help;

  bool secret() const { return type.type == CSB_OPTION_SECRET; }
};

// Not thread-safe while it is filled; afterwards only read.
class Schema {
 public:
  // Checks the declarations of one owner and takes all of them, or none with an error that names owner and
  // option. Keys of a plugin start with its name and a dot; the host's own may have any section.
  Status Add(const std::string& owner, std::span<const csb_option> options, std::string description = "");
  // One line about an owner; "" if nobody gave one.
  std::string_view Description(std::string_view owner) const;

  // Of a plugin that is not loaded: a file may set its keys, but what they are is not known.
  void AddUnread(const std::string& owner) { unread_.insert(owner); }
  bool Unread(std::string_view key) const { return unread_.contains(key.substr(0, key.find('.'))); }

  const Option* Find(std::string_view key) const;
  // In the order of declaration.
  const std::vector<Option>& options() const { return options_; }
  std::vector<std::string> Keys() const;

 private:
  std::vector<Option> options_;
  std::map<std::string, size_t, std::less<>> by_key_;
  std::map<std::string, std::string, std::less<>> descriptions_;
  std::set<std::string, std::less<>> unread_;
};

// "size", "seconds", …; for help texts.
std::string_view NameOfType(uint32_t type);

}  // namespace csb::host
