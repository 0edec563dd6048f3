// SPDX-License-Identifier: Apache-2.0
#include "host/config/config.h"

#include <unistd.h>

#include <charconv>
#include <filesystem>

#include "host/config/file.h"
#include "host/config/suggest.h"

namespace csb::host {
namespace {

constexpr size_t kMaxErrors = 20;

std::string FromEnviron(const Environ& environ, std::string_view name) {
  const auto it = environ.find(name);
  return it == environ.end() ? "" : it->second;
}

// Collects what is wrong, so that a user repairs a file in one go.
class Errors {
 public:
  void Add(const std::string& line) {
    if (++count_ <= kMaxErrors) text_ += (text_.empty() ? "" : "\n") + line;
  }
  bool empty() const { return count_ == 0; }
  Error ToError() const {
    std::string text = text_;
    if (count_ > kMaxErrors) text += "\n… and " + std::to_string(count_ - kMaxErrors) + " more";
    return {CSB_E_INVALID, text, "", false};
  }

 private:
  size_t count_ = 0;
  std::string text_;
};

std::string UnknownKey(const Schema& schema, const std::string& key) {
  std::string text = "unknown key " + Quoted(key);
  const std::string near = Nearest(key, schema.Keys());
  if (!near.empty()) return text + "; did you mean " + near + "?";
  const std::string section = key.substr(0, key.find('.'));
  for (const Option& option : schema.options())
    if (option.key.starts_with(section + ".")) return text + "; `clara-sandbox config show` lists all keys";
  return text + "; no plugin " + Quoted(section) + " was found (`clara-sandbox plugins` lists them)";
}

std::string BadValue(const Option& option, std::string_view value, const Error& error) {
  return option.key + (option.secret() ? std::string(": the value") : " = " + Quoted(value)) + " " +
         error.message;
}

}  // namespace

Result<Config> Config::Load(const Schema& schema, const ConfigSources& sources, UnknownKeys unknown) {
  Config config;
  config.file_ = sources.file;
  Errors errors;
  const std::string home = FromEnviron(sources.environ, "HOME");
  const auto set = [&](const Option& option, std::string_view text, Source source, const std::string& where,
                       const std::string& folder) {
    auto value = Normalise(option.type, text, folder, home);
    if (!value) return errors.Add(where + ": " + BadValue(option, text, value.error()));
    Entry& entry = config.entries_[option.key];
    entry.source = source;
    entry.where = where;
    // An empty path or secret is how a user says "none".
    const bool none = value->empty() && (option.type.type == CSB_OPTION_PATH || option.secret());
    entry.value = none ? std::nullopt : std::optional(*std::move(value));
  };

  for (const Option& option : schema.options()) {
    config.entries_[option.key].option = &option;
    config.entries_[option.key].where = "default";
    if (option.default_value) set(option, *option.default_value, Source::kDefault, "default", "");
  }
  if (!sources.file.empty()) {
    auto text = ReadConfigFile(sources.file);
    if (!text) return text.error();
    auto settings = ParseConfigText(*text, sources.file);
    if (!settings) return settings.error();
    const std::string folder = std::filesystem::path(sources.file).parent_path().string();
    for (const Setting& setting : *settings) {
      const std::string where = sources.file + ":" + std::to_string(setting.line);
      if (const Option* option = schema.Find(setting.key))
        set(*option, setting.value, Source::kFile, where, folder.empty() ? sources.folder : folder);
      else if (unknown == UnknownKeys::kRefuse && !schema.Unread(setting.key))
        errors.Add(where + ": " + UnknownKey(schema, setting.key));
    }
  }
  for (const Option& option : schema.options()) {
    for (const std::string& name : option.env) {
      const auto it = sources.environ.find(name);
      // An empty variable counts as unset: that is what compose files and unit files make of a missing one.
      if (it == sources.environ.end() || it->second.empty()) continue;
      set(option, it->second, Source::kEnvironment, "environment variable " + name, sources.folder);
      break;
    }
  }
  for (const auto& [key, value] : sources.command_line) {
    if (const Option* option = schema.Find(key))
      set(*option, value, Source::kCommandLine, "command line", sources.folder);
    else if (unknown == UnknownKeys::kRefuse)
      errors.Add("command line: " + UnknownKey(schema, key));
  }
  if (!errors.empty()) return errors.ToError();
  return config;
}

std::optional<std::string_view> Config::Get(std::string_view key) const {
  const auto it = entries_.find(key);
  if (it == entries_.end() || !it->second.value) return std::nullopt;
  return *it->second.value;
}

std::string Config::Text(std::string_view key) const { return std::string(Get(key).value_or("")); }

std::optional<int64_t> Config::Int(std::string_view key) const {
  const auto text = Get(key);
  int64_t value = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc())
    return std::nullopt;
  return value;
}

std::optional<double> Config::Number(std::string_view key) const {
  const auto text = Get(key);
  double value = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc())
    return std::nullopt;
  return value;
}

bool Config::Bool(std::string_view key) const { return Get(key).value_or("0") == "1"; }

std::vector<std::string> Config::List(std::string_view key) const { return SplitList(Get(key).value_or("")); }

bool Config::IsSet(std::string_view key) const {
  const auto it = entries_.find(key);
  return it != entries_.end() && it->second.source != Source::kDefault &&
         it->second.source != Source::kComputed;
}

std::string Config::Where(std::string_view key) const {
  const auto it = entries_.find(key);
  return it == entries_.end() ? "" : it->second.where;
}

void Config::Fill(std::string_view key, std::string value, std::string where) {
  const auto it = entries_.find(key);
  if (it != entries_.end() && !it->second.value) Replace(key, std::move(value), std::move(where));
}

void Config::Replace(std::string_view key, std::string value, std::string where) {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return;
  it->second.value = std::move(value);
  it->second.source = Source::kComputed;
  it->second.where = std::move(where);
}

Environ ReadEnviron() {
  Environ result;
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
    const std::string_view entry = *at;
    const size_t equals = entry.find('=');
    if (equals != entry.npos) result.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return result;
}

std::string FindConfigFile(const std::string& from_command_line, const Environ& environ) {
  if (!from_command_line.empty()) return from_command_line;
  if (std::string named = FromEnviron(environ, "CLARA_SANDBOX_CONFIG"); !named.empty()) return named;
  std::string folder = FromEnviron(environ, "XDG_CONFIG_HOME");
  if (folder.empty() || folder[0] != '/') {
    const std::string home = FromEnviron(environ, "HOME");
    folder = home.empty() ? "" : home + "/.config";
  }
  for (const std::string& file : {folder.empty() ? "" : folder + "/clara-sandbox/clara-sandbox.conf",
                                  std::string("/etc/clara-sandbox/clara-sandbox.conf")})
    if (!file.empty() && access(file.c_str(), F_OK) == 0) return file;
  return {};
}

}  // namespace csb::host
