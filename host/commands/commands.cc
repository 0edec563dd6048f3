// SPDX-License-Identifier: Apache-2.0
#include "host/commands/commands.h"

#include <cstdio>
#include <exception>
#include <iterator>

#include "host/commands/plugin_command.h"
#include "host/commands/print.h"
#include "host/commands/signals.h"
#include "host/config/suggest.h"

namespace csb::host {
namespace {

const Command* const kCommands[] = {&kServeCommand,  &kStdioCommand,  &kRunCommand,     &kShellCommand,
                                    &kMoveCommand,   &kDoctorCommand, &kExplainCommand, &kPluginsCommand,
                                    &kConfigCommand, &kManualCommand, &kCompleteCommand};

constexpr OptionSpec kCommon[] = {
    {"config", 0, "FILE",
     "configuration file (else CLARA_SANDBOX_CONFIG, ~/.config/clara-sandbox/clara-sandbox.conf, "
     "/etc/clara-sandbox/clara-sandbox.conf)"},
    {"help", 'h', nullptr, "print this"},
};

void PrintOptions(std::span<const OptionSpec> options) {
  for (const OptionSpec& option : options) {
    std::string left = option.letter != 0 ? std::string("  -") + option.letter + ", --" : std::string("  --");
    left += option.name;
    if (option.value != nullptr) left += std::string(" ") + option.value;
    if (left.size() < 24) left.resize(24, ' ');
    std::printf("%s%s%s\n", left.c_str(), left.size() > 24 ? ("\n" + std::string(24, ' ')).c_str() : "",
                Wrapped(option.help, 24).c_str());
  }
}

int PrintHelp(const Arguments& arguments) {
  std::printf(
      "Runs code that nobody vouches for, each user's in an own sandbox.\n\n%s\n  clara-sandbox COMMAND "
      "…\n\n%s\n",
      Paint("Usage", Colour::kBold).c_str(), Paint("Commands", Colour::kBold).c_str());
  for (const Command* command : kCommands)
    if (!command->hidden) std::printf("  %-9s %s\n", command->name, command->summary);
  PrintPluginCommands(arguments);
  std::printf(
      "\n`clara-sandbox COMMAND --help` tells more. Every command takes --config FILE and every "
      "configuration key as\n"
      "an option (--bubblewrap.memory=1g); `clara-sandbox config show` lists the keys.\n\n%s",
      kExitCodes);
  return FinishOutput() ? kExitOk : kExitFailure;
}

int Misused(const std::string& message, const std::string& help) {
  PrintError({CSB_E_INVALID, message, "`" + help + "` tells more.", false});
  return kExitUsage;
}

int RunCommand(const Command& command, const std::vector<std::string>& words,
               const std::vector<std::pair<std::string, std::string>>& keys, const std::string& config) {
  const std::string help = std::string("clara-sandbox ") + command.name + " --help";
  auto arguments = ParseArguments(words, AllOptions(command));
  if (!arguments) return Misused(std::string(command.name) + ": " + arguments.error().message, help);
  if (arguments->Has("help")) return PrintHelp(command);
  if (!command.takes_rest && !arguments->rest.empty())
    return Misused(std::string(command.name) + ": unexpected argument " + Quoted(arguments->rest[0]), help);
  arguments->keys.insert(arguments->keys.begin(), keys.begin(), keys.end());
  if (!config.empty()) arguments->options.try_emplace("config", config);
  if (arguments->Has("config") && arguments->Text("config").empty())
    return Misused("--config: a file name is expected", help);
  return command.run(*arguments);
}

int Dispatch(const std::vector<std::string>& words) {
  static constexpr OptionSpec kVersion = {"version", 'V', nullptr, "print the version"};
  const OptionSpec specs[] = {kCommon[0], kCommon[1], kVersion};
  auto arguments = ParseArguments(words, specs);
  if (!arguments) return Misused(arguments.error().message, "clara-sandbox --help");
  if (arguments->Has("version")) {
    std::puts("clara-sandbox " CSB_VERSION);
    return FinishOutput() ? kExitOk : kExitFailure;
  }
  const std::vector<std::string>& rest = arguments->rest;
  if (arguments->Has("help") || (!rest.empty() && rest[0] == "help" && rest.size() == 1))
    return PrintHelp(*arguments);
  if (rest.empty()) return Misused("which command?", "clara-sandbox --help");
  const bool help = rest[0] == "help";  // help run = run --help
  const std::string& name = help ? rest[1] : rest[0];
  std::vector<std::string> known;
  for (const Command* command : kCommands) {
    if (name == command->name && help) return PrintHelp(*command);
    if (name == command->name)
      return RunCommand(*command, {rest.begin() + 1, rest.end()}, arguments->keys, arguments->Text("config"));
    if (!command->hidden) known.emplace_back(command->name);
  }
  const std::vector<std::string> of_plugin(rest.begin() + (help ? 1 : 0), rest.end());
  if (const auto code = PluginMain(of_plugin, arguments->keys, arguments->Text("config"), help)) return *code;
  const std::string near = Nearest(name, known);
  return Misused("unknown command " + Quoted(name) + (near.empty() ? "" : "; did you mean " + near + "?"),
                 "clara-sandbox --help");
}

}  // namespace

const char kExitCodes[] =
    "Exit codes: 0 done, 1 it did not work, 2 the command line or the configuration is wrong; `run` ends "
    "with the\n"
    "code's own.\n";

std::span<const Command* const> AllCommands() { return kCommands; }

std::vector<OptionSpec> AllOptions(const Command& command) {
  std::vector<OptionSpec> all(command.options.begin(), command.options.end());
  all.insert(all.end(), std::begin(kCommon), std::end(kCommon));
  return all;
}

int PrintHelp(const Command& command) {
  std::printf("%s\n\n%s\n", command.summary, Paint("Usage", Colour::kBold).c_str());
  std::string_view usage = command.usage;
  do {
    const size_t end = std::min(usage.find('\n'), usage.size());
    std::printf("  clara-sandbox %s %.*s\n", command.name, static_cast<int>(end), usage.data());
    usage.remove_prefix(std::min(end + 1, usage.size()));
  } while (!usage.empty());
  if (*command.details != 0) std::printf("\n%s\n", command.details);
  std::printf("\n%s\n", Paint("Options", Colour::kBold).c_str());
  PrintOptions(AllOptions(command));
  std::printf("  --KEY=VALUE           any configuration key, as in --log.level=debug\n");
  return FinishOutput() ? kExitOk : kExitFailure;
}

int Main(int argc, char** argv) noexcept {
  try {
    PrepareProcess();
    return Dispatch({argv + std::min(1, argc), argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "clara-sandbox: %s\n", error.what());
    return kExitFailure;
  }
}

int Fail(const Error& error) {
  PrintError(error);
  return error.code == CSB_E_INVALID ? kExitUsage : kExitFailure;
}

AppOptions OptionsOf(const Arguments& arguments) {
  AppOptions options;
  options.config_file = arguments.Text("config");
  options.keys = arguments.keys;
  return options;
}

}  // namespace csb::host
