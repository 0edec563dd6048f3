// SPDX-License-Identifier: Apache-2.0
//
// config.h: the values of all options, from the command line, the environment, a file and the defaults, in
// this order of precedence, each with the place it came from.
//
//   auto config = Config::Load(schema, {.file = "/etc/clara-sandbox/clara-sandbox.conf", .environ =
//   ReadEnviron()}); if (!config) return Fail(config.error());           // names file and line, variable or
//   option int64_t port = config->Int("http.port").value_or(8080);
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "host/config/schema.h"

namespace csb::host {

using Environ = std::map<std::string, std::string, std::less<>>;

struct ConfigSources {
  std::string file;  // "" for none
  Environ environ;
  std::vector<std::pair<std::string, std::string>>
      command_line;    // key and value, in order; the last one wins
  std::string folder;  // what relative paths outside the file are relative to; "" leaves them as they are
};

// The host looks at its own keys before it knows the plugins and so all the keys there are.
enum class UnknownKeys { kRefuse, kIgnore };

class Config {
 public:
  enum class Source { kDefault, kComputed, kFile, kEnvironment, kCommandLine };
  struct Entry {
    const Option* option = nullptr;    // lives as long as the schema's
    std::optional<std::string> value;  // normalised
    Source source = Source::kDefault;
    std::string where;  // "default", "FILE:LINE", "environment variable NAME", "command line"
  };

  // The message of an error has one line for each thing that is wrong. The schema must outlive the config.
  static Result<Config> Load(const Schema& schema, const ConfigSources& sources,
                             UnknownKeys unknown = UnknownKeys::kRefuse);

  // The normalised value; nothing for an unknown key, and for an option that is unset. The text lives as long
  // as this object and stays when it is moved. [any] thread, once loaded.
  std::optional<std::string_view> Get(std::string_view key) const;
  std::string Text(std::string_view key) const;              // "" when unset
  std::optional<int64_t> Int(std::string_view key) const;    // INT, SIZE (bytes)
  std::optional<double> Number(std::string_view key) const;  // FLOAT, SECONDS, INT
  bool Bool(std::string_view key) const;                     // false when unset
  std::vector<std::string> List(std::string_view key) const;

  // Whether a user gave the value, wherever.
  bool IsSet(std::string_view key) const;
  // Where the value came from, for messages: "FILE:12", "environment variable SANDBOX_MODE"…
  std::string Where(std::string_view key) const;
  // Before anybody reads. Fill gives an unset option the value that was found by looking at the machine;
  // Replace also changes a set one.
  void Fill(std::string_view key, std::string value, std::string where);
  void Replace(std::string_view key, std::string value, std::string where);

  const std::map<std::string, Entry, std::less<>>& entries() const { return entries_; }
  const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::map<std::string, Entry, std::less<>> entries_;
};

// This process's environment.
Environ ReadEnviron();

// The file to read: --config, else CLARA_SANDBOX_CONFIG, else
// $XDG_CONFIG_HOME/clara-sandbox/clara-sandbox.conf, else /etc/clara-sandbox/clara-sandbox.conf, the last two
// only if they exist. "" for none.
std::string FindConfigFile(const std::string& from_command_line, const Environ& environ);

}  // namespace csb::host
