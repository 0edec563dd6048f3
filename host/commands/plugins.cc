// SPDX-License-Identifier: Apache-2.0
//
// plugins: what was found in the plugin folders, and what was refused.
#include <unistd.h>

#include <cerrno>

#include "clara_sandbox/cpp/json.h"
#include "host/commands/commands.h"
#include "host/commands/print.h"
#include "host/config/host_options.h"

namespace csb::host {
namespace {

const char* KindOf(const csb_plugin& plugin) {
  return plugin.kind == CSB_KIND_BACKEND    ? "backend"
         : plugin.kind == CSB_KIND_FRONTEND ? "frontend"
                                            : "unknown";
}

std::string AbiOf(const csb_plugin& plugin) {
  return std::to_string(plugin.abi_major) + "." + std::to_string(plugin.abi_minor);
}

void PrintJson(const App& app) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "folders");
  w.StartArray();
  for (const std::string& folder : PluginDirs(app.config())) json::String(w, folder);
  w.EndArray();
  json::Key(w, "plugins");
  w.StartArray();
  for (const LoadedPlugin& plugin : app.plugins().plugins) {
    w.StartObject();
    json::Member(w, "name", plugin.descriptor->name);
    json::Member(w, "kind", KindOf(*plugin.descriptor));
    json::Member(w, "version", plugin.descriptor->version);
    json::Member(w, "abi", AbiOf(*plugin.descriptor));
    json::Member(w, "description", plugin.descriptor->description);
    json::Member(w, "path", plugin.path);
    w.EndObject();
  }
  w.EndArray();
  json::Key(w, "refused");
  w.StartArray();
  for (const auto& [path, error] : app.plugins().refused) {
    w.StartObject();
    json::Member(w, "path", path);
    json::Member(w, "reason", error.message);
    json::Member(w, "hint", error.hint);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  std::puts(buffer.GetString());
}

void PrintText(const App& app) {
  std::vector<std::vector<std::string>> rows = {{"NAME", "KIND", "VERSION", "ABI", "PATH"}};
  for (const LoadedPlugin& plugin : app.plugins().plugins)
    rows.push_back({plugin.descriptor->name, KindOf(*plugin.descriptor), plugin.descriptor->version,
                    AbiOf(*plugin.descriptor), plugin.path});
  if (rows.size() > 1)
    PrintTable(rows);
  else
    std::printf("No plugins in %s\n", app.config().Text("sandbox.plugin_dirs").c_str());
  for (const std::string& folder : PluginDirs(app.config()))
    if (access(folder.c_str(), F_OK) != 0 && errno == ENOENT)
      std::printf("%s there is no folder %s (%s: sandbox.plugin_dirs)\n",
                  Paint("warning", Colour::kYellow).c_str(), folder.c_str(),
                  app.config().Where("sandbox.plugin_dirs").c_str());
  for (const auto& [path, error] : app.plugins().refused) {
    std::printf("%s %s\n", Paint("refused", Colour::kRed).c_str(), error.message.c_str());
    if (!error.hint.empty()) std::printf("        %s\n", error.hint.c_str());
  }
}

int Plugins(const Arguments& arguments) {
  AppOptions options = OptionsOf(arguments);
  options.quiet_level = "error";  // what was refused is printed here
  auto app = App::Create(options);
  if (!app) return Fail(app.error());
  if (arguments.Has("json"))
    PrintJson(**app);
  else
    PrintText(**app);
  return FinishOutput() ? kExitOk : kExitFailure;
}

constexpr OptionSpec kOptions[] = {{"json", 0, nullptr, "print JSON"}};

}  // namespace

const Command kPluginsCommand = {"plugins",
                                 "[--json]",
                                 "List the plugins found, and those refused with the reason",
                                 "Looks into the folders of sandbox.plugin_dirs.",
                                 kOptions,
                                 false,
                                 Plugins};

}  // namespace csb::host
