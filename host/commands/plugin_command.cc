// SPDX-License-Identifier: Apache-2.0
#include "host/commands/plugin_command.h"

#include "clara_sandbox/operation.h"
#include "host/commands/commands.h"
#include "host/commands/print.h"
#include "host/config/suggest.h"
#include "host/plugin/command.h"

namespace csb::host {
namespace {

using Words = std::vector<std::string>;

// "incus trust TOKEN"
std::string UsageOf(const std::string& plugin, const csb_command& command) {
  std::string usage = plugin + " " + command.name;
  if (*command.arguments != 0) usage += std::string(" ") + command.arguments;
  return usage;
}

const LoadedPlugin* FindByName(const ScanResult& found, std::string_view name) {
  for (const LoadedPlugin& plugin : found.plugins)
    if (name == plugin.descriptor->name) return &plugin;
  return nullptr;
}

const csb_command* FindByName(const csb_command_v1& table, std::string_view name) {
  for (uint32_t i = 0; i < table.command_count; ++i)
    if (name == CommandAt(table, i)->name) return CommandAt(table, i);
  return nullptr;
}

int Misused(const std::string& message, const std::string& help) {
  PrintError({CSB_E_INVALID, message, "`clara-sandbox " + help + " --help` tells more.", false});
  return kExitUsage;
}

int PrintPluginHelp(const LoadedPlugin& plugin, const csb_command_v1& table) {
  const std::string name = plugin.descriptor->name;
  std::printf("%s\n\n%s\n  clara-sandbox %s COMMAND …\n\n%s\n", plugin.descriptor->description,
              Paint("Usage", Colour::kBold).c_str(), name.c_str(), Paint("Commands", Colour::kBold).c_str());
  for (uint32_t i = 0; i < table.command_count; ++i)
    std::printf("  %-9s %s\n", CommandAt(table, i)->name, CommandAt(table, i)->summary);
  return FinishOutput() ? kExitOk : kExitFailure;
}

int PrintCommandHelp(const LoadedPlugin& plugin, const csb_command& command) {
  const std::string name = std::string(plugin.descriptor->name) + " " + command.name;
  const std::string usage = std::string("[OPTIONS] ") + command.arguments;
  return PrintHelp(Command{name.c_str(), usage.c_str(), command.summary, command.details, {}, true, nullptr});
}

// The options before a word are taken off `words` and joined to `all`; what is left is in all->rest.
Status TakeOptions(const Words& words, Arguments* all) {
  auto parsed = ParseArguments(words, AllOptions(Command{}));
  if (!parsed) return parsed.error();
  all->keys.insert(all->keys.end(), parsed->keys.begin(), parsed->keys.end());
  for (auto& [name, value] : parsed->options) all->options[name] = value;
  all->rest = std::move(parsed->rest);
  return {};
}

void Print(uint32_t stream, std::string_view text) {
  FILE* file = stream == CSB_STREAM_STDERR ? stderr : stdout;
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

}  // namespace

std::optional<int> PluginMain(const Words& words,
                              const std::vector<std::pair<std::string, std::string>>& keys,
                              const std::string& config, bool help) {
  const std::string& name = words.at(0);
  Arguments arguments;
  arguments.keys = keys;
  if (!config.empty()) arguments.options["config"] = config;
  // What is wrong with the words is said only of a plugin that exists.
  Status taken = TakeOptions({words.begin() + 1, words.end()}, &arguments);
  std::string command_name;
  if (taken && !arguments.rest.empty()) {
    command_name = arguments.rest[0];
    taken = TakeOptions(Words(arguments.rest.begin() + 1, arguments.rest.end()), &arguments);
  }
  AppOptions options = OptionsOf(arguments);
  options.quiet_level = "warn";
  const ScanResult found = App::FindPlugins(options);
  const LoadedPlugin* plugin = FindByName(found, name);
  if (plugin == nullptr) return std::nullopt;
  auto table = FindCommands(*plugin);
  if (!table) return Fail(table.error());
  if (!taken) return Misused(name + ": " + taken.error().message, name);
  help = help || arguments.Has("help");
  if (command_name.empty())
    return help ? PrintPluginHelp(*plugin, **table) : Misused(name + ": which command?", name);
  const csb_command* command = FindByName(**table, command_name);
  if (command == nullptr) {
    Words known;
    for (uint32_t i = 0; i < (*table)->command_count; ++i) known.emplace_back(CommandAt(**table, i)->name);
    const std::string near = Nearest(command_name, known);
    return Misused(name + ": unknown command " + Quoted(command_name) +
                       (near.empty() ? "" : "; did you mean " + near + "?"),
                   name);
  }
  if (help) return PrintCommandHelp(*plugin, *command);
  auto app = App::Create(options);
  if (!app) return Fail(app.error());
  const Status status = (*app)->RunPluginCommand(*plugin, **table, command_name, arguments.rest, Print);
  (*app)->Shutdown(std::chrono::milliseconds(0));
  if (!FinishOutput() && status) return kExitFailure;
  return status ? kExitOk : Fail(status.error());
}

void PrintPluginCommands(const Arguments& arguments) {
  std::vector<Words> rows;
  const ScanResult found = App::FindPlugins(OptionsOf(arguments));
  for (const LoadedPlugin& plugin : found.plugins) {
    auto table = FindCommands(plugin);
    if (!table) continue;
    for (uint32_t i = 0; i < (*table)->command_count; ++i)
      rows.push_back(
          {"  " + UsageOf(plugin.descriptor->name, *CommandAt(**table, i)), CommandAt(**table, i)->summary});
  }
  if (rows.empty()) return;
  std::printf("\n%s\n", Paint("Commands of plugins", Colour::kBold).c_str());
  PrintTable(rows);
}

}  // namespace csb::host
