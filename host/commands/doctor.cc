// SPDX-License-Identifier: Apache-2.0
//
// doctor: what is wrong with this machine or its configuration, and what to do about it.
#include <algorithm>

#include "clara_sandbox/cpp/json.h"
#include "host/commands/ask.h"
#include "host/commands/check_probe.h"
#include "host/commands/commands.h"
#include "host/commands/machine.h"
#include "host/commands/print.h"
#include "host/config/host_options.h"
#include "host/log/logger.h"

namespace csb::host {
namespace {

using Level = Finding::Level;

void Append(Findings& to, Findings from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

bool CheckBackend(BackendInstance& backend, Timers& timers, Findings& findings) {
  auto answer = Ask(backend, timers, CSB_OP_PROBE, "", "{}", std::chrono::seconds(15));
  if (answer) return CheckProbe(backend.name(), *answer, findings);
  findings.push_back(
      {Level::kFail, "backend " + backend.name(), answer.error().message, answer.error().hint});
  return false;
}

void CheckApp(App& app, Findings& findings, bool& can_serve) {
  const Config& config = app.config();
  findings.push_back({Level::kOk, "configuration",
                      config.file().empty() ? "no file; environment and defaults" : config.file(), ""});
  for (const auto& [key, folder] : {std::pair{"sandbox.data_dir", "data folder"},
                                    {"sandbox.state_dir", "state folder"},
                                    {"sandbox.runtime_dir", "runtime folder"}})
    if (const std::string path = config.Text(key); !path.empty())
      findings.push_back(CheckFolder(folder, path));
  std::string names;
  for (const LoadedPlugin& plugin : app.plugins().plugins)
    (names += names.empty() ? "" : ", ") += plugin.descriptor->name;
  if (names.empty())
    findings.push_back({Level::kFail, "plugins", "none in " + config.Text("sandbox.plugin_dirs"),
                        "Build or install them, or set sandbox.plugin_dirs."});
  else
    findings.push_back({Level::kOk, "plugins", names, ""});
  for (const auto& [path, error] : app.plugins().refused)
    findings.push_back({Level::kWarn, "plugin", error.message, error.hint});
  app.CreateBackends();
  if (app.backends().empty() && app.backend_failures().empty())
    findings.push_back({Level::kFail, "backends", "none is installed and enabled",
                        "Install one, or look at sandbox.mode and sandbox.backends."});
  for (const BackendFailure& failure : app.backend_failures())
    findings.push_back({Level::kFail, "backend " + failure.name, failure.error.message, failure.error.hint});
  for (const auto& backend : app.backends())
    if (CheckBackend(*backend, app.timers(), findings)) can_serve = true;
}

void PrintJson(const Findings& findings, bool can_serve) {
  static constexpr const char* kNames[] = {"ok", "warn", "fail"};
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Member(w, "ok", can_serve);
  json::Key(w, "findings");
  w.StartArray();
  for (const Finding& finding : findings) {
    w.StartObject();
    json::Member(w, "level", kNames[static_cast<int>(finding.level)]);
    json::Member(w, "name", finding.name);
    json::Member(w, "text", finding.text);
    json::Member(w, "hint", finding.hint);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  std::puts(buffer.GetString());
}

void PrintText(const Findings& findings, bool can_serve) {
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.name.size());
  for (const Finding& finding : findings) {
    const std::string level = finding.level == Level::kOk     ? Paint("ok  ", Colour::kGreen)
                              : finding.level == Level::kWarn ? Paint("warn", Colour::kYellow)
                                                              : Paint("fail", Colour::kRed);
    std::string name = finding.name;
    name.resize(width, ' ');
    std::printf("%s  %s  %s\n", level.c_str(), name.c_str(), Wrapped(finding.text, width + 8, 110).c_str());
    if (finding.hint.empty()) continue;
    std::string_view hint = finding.hint;
    while (!hint.empty()) {
      const size_t end = std::min(hint.find('\n'), hint.size());
      std::printf("%*s%s\n", static_cast<int>(width + 8), "",
                  Paint(hint.substr(0, end), Colour::kDim).c_str());
      hint.remove_prefix(std::min(end + 1, hint.size()));
    }
  }
  std::printf("\n%s\n",
              can_serve ? Paint("Code can be run.", Colour::kGreen).c_str()
                        : Paint("No backend can run code; see the lines that fail.", Colour::kRed).c_str());
}

int Doctor(const Arguments& arguments) {
  Findings findings;
  for (const auto& check : {CheckKernel, CheckUserNamespaces, CheckCgroups})
    Append(findings, check(Machine{}));
  for (const auto& check : {CheckOpenFiles, CheckBubblewrap, CheckPython}) Append(findings, check());
  bool can_serve = false;
  AppOptions options = OptionsOf(arguments);
  options.silent = true;  // what the log would say stands in the findings
  auto app = App::Create(options);
  if (app)
    CheckApp(**app, findings, can_serve);
  else
    findings.push_back({Level::kFail, "configuration", OneLine(app.error().message), app.error().hint});
  if (arguments.Has("json"))
    PrintJson(findings, can_serve);
  else
    PrintText(findings, can_serve);
  if (!FinishOutput()) return kExitFailure;
  return !app ? kExitUsage : can_serve ? kExitOk : kExitFailure;
}

constexpr OptionSpec kOptions[] = {{"json", 0, nullptr, "print JSON"}};

}  // namespace

const Command kDoctorCommand = {
    "doctor",
    "[--json] [OPTIONS]",
    "Say what is wrong with this machine, and what to do about it",
    "Looks at the kernel, the tools, the folders, the plugins and every backend; changes\n"
    "nothing. Exit code 1 when no backend can run code.",
    kOptions,
    false,
    Doctor};

}  // namespace csb::host
