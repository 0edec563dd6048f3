// SPDX-License-Identifier: Apache-2.0
//
// config: what is in force and where it came from; whether a file is right; the documented file.
#include <sys/stat.h>

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

int Check(const Arguments& arguments) {
  auto app = Load(arguments);
  if (!app) return Fail(app.error());
  const Config& config = (*app)->config();
  std::printf("%s: no mistakes\n",
              config.file().empty() ? "environment and defaults" : config.file().c_str());
  struct stat info {};
  if (!config.file().empty() && stat(config.file().c_str(), &info) == 0 && (info.st_mode & 0044) != 0)
    for (const auto& [key, entry] : config.entries())
      if (entry.option->secret() && entry.source == Config::Source::kFile)
        std::printf("warning: %s has a secret (%s) and others may read it; chmod 600 %s\n",
                    config.file().c_str(), key.c_str(), config.file().c_str());
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
    {"json", 0, nullptr, "show: print JSON"},
    {"defaults", 0, nullptr, "show: print a configuration file that documents every key"},
};

}  // namespace

const Command kConfigCommand = {
    "config",
    "show [--json | --defaults] [OPTIONS]\ncheck [OPTIONS]",
    "Show the configuration in force, or check it",
    "show prints every key with its value and where that came from; secrets are never printed.\n"
    "check says whether file, environment and command line are right.",
    kOptions,
    true,
    ConfigCommand};

}  // namespace csb::host
