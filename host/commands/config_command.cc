// SPDX-License-Identifier: Apache-2.0
//
// config: what is in force and where it came from; whether a file is right; the documented file.
#include <sys/stat.h>

#include "clara_sandbox/cpp/json.h"
#include "host/commands/commands.h"
#include "host/commands/print.h"
#include "host/config/render.h"
#include "host/config/suggest.h"

namespace csb::host {
namespace {

Result<std::unique_ptr<App>> Load(const Arguments& arguments) {
  AppOptions options = OptionsOf(arguments);
  options.quiet_level = "error";
  return App::Create(options);
}

int Show(const Arguments& arguments) {
  auto app = Load(arguments);
  if (!app) return Fail(app.error());
  const Config& config = (*app)->config();
  const Schema& schema = (*app)->schema();
  std::string text;
  if (arguments.Has("defaults"))
    text = RenderDefaults(schema);
  else if (arguments.Has("json"))
    text = RenderConfigJson(config, schema) + "\n";
  else
    text = RenderConfig(config, schema);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return FinishOutput() ? kExitOk : kExitFailure;
}

std::vector<std::string> WarningsOf(const Config& config) {
  std::vector<std::string> warnings;
  struct stat info {};
  const std::string& file = config.file();
  if (!file.empty() && stat(file.c_str(), &info) == 0 && (info.st_mode & 0044) != 0)
    for (const auto& [key, entry] : config.entries())
      if (entry.option->secret() && entry.source == Config::Source::kFile)
        warnings.push_back(file + " has a secret (" + key + ") and others may read it; chmod 600 " + file);
  return warnings;
}

std::vector<std::string> LinesOf(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

int CheckJson(const Result<std::unique_ptr<App>>& app) {
  json::Buffer buffer;
  json::Writer w(buffer);
  const auto list = [&w](const char* name, const std::vector<std::string>& lines) {
    json::Key(w, name);
    w.StartArray();
    for (const std::string& line : lines) json::String(w, line);
    w.EndArray();
  };
  w.StartObject();
  json::Member(w, "ok", static_cast<bool>(app));
  list("mistakes", app ? std::vector<std::string>() : LinesOf(app.error().message));
  list("hints", app ? std::vector<std::string>() : LinesOf(app.error().hint));
  list("warnings", app ? WarningsOf((*app)->config()) : std::vector<std::string>());
  w.EndObject();
  std::puts(buffer.GetString());
  if (!FinishOutput()) return kExitFailure;
  return app ? kExitOk : kExitUsage;
}

int Check(const Arguments& arguments) {
  auto app = Load(arguments);
  if (arguments.Has("json")) return CheckJson(app);
  if (!app) return Fail(app.error());
  const Config& config = (*app)->config();
  std::printf("%s: no mistakes\n",
              config.file().empty() ? "environment and defaults" : config.file().c_str());
  for (const std::string& warning : WarningsOf(config)) std::printf("warning: %s\n", warning.c_str());
  return FinishOutput() ? kExitOk : kExitFailure;
}

int ConfigCommand(const Arguments& arguments) {
  const auto misused = [](const std::string& message) {
    return Fail({CSB_E_INVALID, message, "`clara-sandbox config --help` tells more.", false});
  };
  if (arguments.rest.empty()) return misused("config: show or check?");
  const std::string& what = arguments.rest[0];
  // Options may follow: config show --json.
  auto own = ParseArguments({arguments.rest.begin() + 1, arguments.rest.end()}, AllOptions(kConfigCommand));
  if (!own) return misused("config: " + own.error().message);
  if (own->Has("help")) return PrintHelp(kConfigCommand);
  if (!own->rest.empty()) return misused("config: unexpected argument " + Quoted(own->rest[0]));
  Arguments all = arguments;
  all.options.insert(own->options.begin(), own->options.end());
  all.keys.insert(all.keys.end(), own->keys.begin(), own->keys.end());
  if (what == "show") return Show(all);
  if (what == "check") return Check(all);
  const std::string near = Nearest(what, {"show", "check"});
  return misused("config: unknown word " + Quoted(what) +
                 (near.empty() ? "" : "; did you mean " + near + "?"));
}

constexpr OptionSpec kOptions[] = {
    {"json", 0, nullptr, "print JSON"},
    {"defaults", 0, nullptr, "show: print a configuration file that documents every key"},
};

}  // namespace

const Command kConfigCommand = {
    "config",
    "show [--json | --defaults] [OPTIONS]\ncheck [--json] [OPTIONS]",
    "Show the configuration in force, or check it",
    "show prints every key with its value and where that came from; secrets are never printed.\n"
    "check says whether file, environment and command line are right.",
    kOptions,
    true,
    ConfigCommand};

}  // namespace csb::host
