// SPDX-License-Identifier: Apache-2.0
//
// Boost.Program_options, which reads the configuration file, is not used here: it takes options anywhere on
// the line, refuses empty values, and must know every option, keys of plugins included, before it starts.
#include "host/commands/arguments.h"

#include "host/config/suggest.h"

namespace csb::host {
namespace {

Error Bad(std::string message) { return {CSB_E_INVALID, std::move(message), "", false}; }

struct Word {
  std::string name;                  // "--timeout", "-c"
  std::optional<std::string> value;  // what is glued to it: --timeout=5, -cCODE
};

Word Split(const std::string& word) {
  if (!word.starts_with("--"))
    return {word.substr(0, 2), word.size() > 2 ? std::optional(word.substr(2)) : std::nullopt};
  const size_t equals = word.find('=');
  if (equals == word.npos) return {word, std::nullopt};
  return {word.substr(0, equals), word.substr(equals + 1)};
}

const OptionSpec* Find(std::span<const OptionSpec> specs, std::string_view name) {
  for (const OptionSpec& spec : specs) {
    if (name.starts_with("--") && name.substr(2) == spec.name) return &spec;
    if (!name.starts_with("--") && spec.letter != 0 && name[1] == spec.letter) return &spec;
  }
  return nullptr;
}

Error Unknown(std::span<const OptionSpec> specs, const std::string& name) {
  std::vector<std::string> known;
  for (const OptionSpec& spec : specs) known.push_back(std::string("--") + spec.name);
  const std::string near = name.starts_with("--") ? Nearest(name, known) : "";
  return Bad("unknown option " + Quoted(name) + (near.empty() ? "" : "; did you mean " + near + "?"));
}

}  // namespace

Result<Arguments> ParseArguments(const std::vector<std::string>& words, std::span<const OptionSpec> specs) {
  Arguments out;
  size_t i = 0;
  for (; i < words.size() && words[i].size() >= 2 && words[i][0] == '-'; ++i) {
    if (words[i] == "--") {
      out.separator = true;
      ++i;
      break;
    }
    Word word = Split(words[i]);
    const bool key = word.name.starts_with("--") && word.name.find('.') != word.name.npos;
    const OptionSpec* spec = key ? nullptr : Find(specs, word.name);
    if (!key && spec == nullptr) return Unknown(specs, word.name);
    if (!key && spec->value == nullptr) {
      if (word.value) return Bad("option " + Quoted(word.name) + " takes no value");
      out.options[spec->name] = "1";
      continue;
    }
    if (!word.value) {
      if (i + 1 == words.size())
        return Bad("option " + Quoted(word.name) + " needs a value: " + word.name + " " +
                   (key ? "VALUE" : spec->value));
      word.value = words[++i];
    }
    if (key)
      out.keys.emplace_back(word.name.substr(2), *std::move(word.value));
    else
      out.options[spec->name] = *std::move(word.value);
  }
  out.rest.assign(words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
  return out;
}

}  // namespace csb::host
