// SPDX-License-Identifier: Apache-2.0
#include "host/config/render.h"

#include <algorithm>
#include <charconv>

#include "clara_sandbox/cpp/json.h"
#include "host/config/roff.h"

namespace csb::host {
namespace {

constexpr size_t kWidth = 100;

constexpr std::string_view kHead =
    "# Configuration of clara-sandbox: every key, with its default.\n"
    "#\n"
    "# Read from the file that --config or the environment variable CLARA_SANDBOX_CONFIG names, else from\n"
    "# $XDG_CONFIG_HOME/clara-sandbox/clara-sandbox.conf, else from /etc/clara-sandbox/clara-sandbox.conf.\n"
    "# A command line option (--http.port=8081) beats an environment variable beats this file. An unknown "
    "key or a\n"
    "# bad value is an error. `clara-sandbox config check` checks, `clara-sandbox config show` tells what is "
    "in force.\n"
    "#\n"
    "# Sizes: 512m, 512MiB, 1g (powers of 1024) or unlimited. Times: 30 (seconds), 500ms, 15m, 1h.\n"
    "# Lists: words separated by blanks or commas. Values are written without quotes; # starts a comment.\n"
    "#\n"
    "# Written by `clara-sandbox config show --defaults`.\n";

std::string SectionOf(const Option& option) { return option.key.substr(0, option.key.find('.')); }
std::string NameOf(const Option& option) { return option.key.substr(option.key.find('.') + 1); }

std::string_view Introduction(const Schema& schema, const std::string& section) {
  if (section == "sandbox") return "Where code runs, and what all backends share.";
  if (section == "log") return "What is logged, always to stderr.";
  if (section == "run") return "The command `clara-sandbox run`.";
  return schema.Description(section);
}

void Comment(std::string& out, std::string_view text) {
  std::string line = "#";
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    if (line.size() > 1 && line.size() + 1 + end > kWidth) {
      out += line + "\n";
      line = "#";
    }
    (line += ' ') += text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (line.size() > 1) out += line + "\n";
}

std::string Bound(const Option& option, double value) {
  if (option.type.type == CSB_OPTION_SIZE) return FormatSize(static_cast<uint64_t>(value));
  return FormatNumber(value) + (option.type.type == CSB_OPTION_SECONDS ? " s" : "");
}

// "A size, 1 MiB to 1 TiB. Environment: A, B."
std::string Facts(const Option& option) {
  std::string text(NameOfType(option.type.type));
  text[0] = static_cast<char>(text[0] - 'a' + 'A');
  for (const std::string& choice : option.type.choices)
    text += (choice == option.type.choices[0] ? " " : ", ") + choice;
  const bool bounded = option.type.min != 0 || option.type.max != 0;
  // Without a minimum, 0 of a size is "unlimited".
  if (bounded && option.type.type == CSB_OPTION_SIZE && option.type.min == 0)
    text += ", at most " + Bound(option, option.type.max);
  else if (bounded)
    text += ", " + Bound(option, option.type.min) + " to " + Bound(option, option.type.max);
  text += ".";
  if (!option.env.empty()) {
    text += " Environment:";
    for (const std::string& name : option.env) text += (&name == &option.env[0] ? " " : ", ") + name;
    text += ".";
  }
  return text;
}

// Sections in the order of their first option.
std::vector<std::string> Sections(const Schema& schema) {
  std::vector<std::string> sections;
  for (const Option& option : schema.options())
    if (std::find(sections.begin(), sections.end(), SectionOf(option)) == sections.end())
      sections.push_back(SectionOf(option));
  return sections;
}

// As a person would write it, where that is the same value.
std::string Readable(const Option& option, const std::string& value) {
  if (option.type.type == CSB_OPTION_BOOL) return value == "1" ? "true" : "false";
  if (option.type.type != CSB_OPTION_SIZE) return value;
  uint64_t bytes = 0;
  std::from_chars(value.data(), value.data() + value.size(), bytes);
  const std::string text = FormatSize(bytes);
  auto again = ParseSize(text);
  return again && *again == bytes ? text : value;
}

const char* NameOf(Config::Source source) {
  switch (source) {
    case Config::Source::kDefault:
      return "default";
    case Config::Source::kComputed:
      return "computed";
    case Config::Source::kFile:
      return "file";
    case Config::Source::kEnvironment:
      return "environment";
    case Config::Source::kCommandLine:
      return "command_line";
  }
  return "unknown";
}

}  // namespace

std::string RenderDefaults(const Schema& schema) {
  std::string out(kHead);
  for (const std::string& section : Sections(schema)) {
    out += "\n";
    Comment(out, Introduction(schema, section));
    out += "[" + section + "]\n";
    for (const Option& option : schema.options()) {
      if (SectionOf(option) != section) continue;
      out += "\n";
      Comment(out, option.help);
      Comment(out, Facts(option));
      const std::string value = option.default_value.value_or("");
      out += "#" + NameOf(option) + (value.empty() ? " =" : " = " + value) + "\n";
    }
  }
  return out;
}

std::string RenderManual(const Schema& schema) {
  std::string out = roff::Head("CLARA-SANDBOX.CONF", 5) + roff::Section("NAME") +
                    "clara\\-sandbox.conf \\- configuration of clara\\-sandbox\n" +
                    roff::Section("DESCRIPTION");
  // The head of the documented file, without its first line and what made it.
  std::string_view head = kHead.substr(kHead.find('\n') + 1);
  head = head.substr(0, head.rfind("#\n"));
  std::string text;
  while (!head.empty()) {
    const size_t end = head.find('\n');
    text += std::string(head.substr(std::min<size_t>(2, end), end - std::min<size_t>(2, end))) + "\n";
    head.remove_prefix(end + 1);
  }
  out += roff::Paragraphs(std::string_view(text).substr(text.find_first_not_of('\n')));
  out += ".PP\n.EX\n[http]\nport = 8081        # a comment\n\n[bubblewrap]\nmemory = 1g\n.EE\n";
  out += roff::Section("OPTIONS") +
         "Sections are in brackets in the file; elsewhere a key is written with its section.\n";
  for (const std::string& section : Sections(schema)) {
    out += ".SS [" + section + "]\n" + roff::Text(Introduction(schema, section)) + "\n";
    for (const Option& option : schema.options()) {
      if (SectionOf(option) != section) continue;
      out += ".TP\n" + roff::Bold(option.key);
      if (option.default_value && !option.default_value->empty())
        out += " = " + roff::Text(*option.default_value);
      out += "\n" + roff::Text(option.help) + "\n" + roff::Text(Facts(option)) + "\n";
    }
  }
  return out + roff::Section("SEE ALSO") + ".BR clara\\-sandbox (1)\n";
}

std::string RenderConfig(const Config& config, const Schema& schema) {
  std::string out = config.file().empty() ? "# no configuration file\n" : "# file " + config.file() + "\n";
  for (const std::string& section : Sections(schema)) {
    out += "\n[" + section + "]\n";
    for (const Option& option : schema.options()) {
      if (SectionOf(option) != section) continue;
      const Config::Entry& entry = config.entries().at(option.key);
      std::string line = NameOf(option) + " =";
      if (!entry.value)
        line = "#" + line;
      else if (option.secret())
        line = "#" + line + " (set, not shown)";
      else if (!entry.value->empty())
        line += " " + Readable(option, *entry.value);
      line.resize(std::max<size_t>(line.size(), 48), ' ');
      out += line + " # " + (entry.value ? entry.where : "unset") + "\n";
    }
  }
  return out;
}

std::string RenderConfigJson(const Config& config, const Schema& schema) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "file");
  if (config.file().empty())
    w.Null();
  else
    json::String(w, config.file());
  json::Key(w, "options");
  w.StartArray();
  for (const Option& option : schema.options()) {
    const Config::Entry& entry = config.entries().at(option.key);
    w.StartObject();
    json::Member(w, "key", option.key);
    json::Key(w, "value");
    if (entry.value && !option.secret())
      json::String(w, *entry.value);
    else
      w.Null();
    json::Member(w, "set", entry.value.has_value());
    json::Member(w, "source", NameOf(entry.source));
    json::Member(w, "where", entry.where);
    json::Key(w, "default");
    if (option.default_value)
      json::String(w, *option.default_value);
    else
      w.Null();
    json::Member(w, "type", NameOfType(option.type.type));
    json::Key(w, "environment");
    w.StartArray();
    for (const std::string& name : option.env) json::String(w, name);
    w.EndArray();
    json::Member(w, "help", option.help);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace csb::host
