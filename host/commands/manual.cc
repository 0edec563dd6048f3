// SPDX-License-Identifier: Apache-2.0
//
// manual: the manual pages, written from the tables that --help and the configuration are made of, so that
// none of them can say something else. Hidden: packages call it while they are built.
#include <cstdio>

#include "host/commands/commands.h"
#include "host/commands/print.h"
#include "host/config/render.h"
#include "host/config/roff.h"
#include "host/config/suggest.h"
#include "host/plugin/command.h"

namespace csb::host {
namespace {

std::string Usage(const std::string& name, std::string_view usage) {
  std::string out;
  do {
    const size_t end = std::min(usage.find('\n'), usage.size());
    out += ".br\n" + roff::Bold("clara-sandbox " + name) + " " + roff::Text(usage.substr(0, end)) + "\n";
    usage.remove_prefix(std::min(end + 1, usage.size()));
  } while (!usage.empty());
  return out;
}

std::string Options(std::span<const OptionSpec> options) {
  std::string out;
  for (const OptionSpec& option : options) {
    out += ".TP\n";
    if (option.letter != 0) out += roff::Bold(std::string("-") + option.letter) + ", ";
    out += roff::Bold(std::string("--") + option.name);
    if (option.value != nullptr) out += std::string(" \\fI") + roff::Text(option.value) + "\\fR";
    out += "\n" + roff::Text(option.help) + "\n";
  }
  return out;
}

std::string PluginCommands(const App& app) {
  std::string out;
  for (const LoadedPlugin& plugin : app.plugins().plugins) {
    auto table = FindCommands(plugin);
    if (!table) continue;
    for (uint32_t i = 0; i < (*table)->command_count; ++i) {
      const csb_command& command = *CommandAt(**table, i);
      const std::string name = std::string(plugin.descriptor->name) + " " + command.name;
      out += ".SS " + roff::Text(name) + "\n" + roff::Text(command.summary) + ".\n" +
             Usage(name, std::string("[OPTIONS] ") + command.arguments) + ".PP\n" +
             roff::Paragraphs(command.details);
    }
  }
  return out;
}

std::string CommandManual(const App& app) {
  std::string out = roff::Head("CLARA-SANDBOX", 1) + roff::Section("NAME") +
                    "clara\\-sandbox \\- run code that nobody vouches for, each user's in an own sandbox\n" +
                    roff::Section("SYNOPSIS");
  for (const Command* command : AllCommands())
    if (!command->hidden) out += Usage(command->name, command->usage);
  out += roff::Section("COMMANDS");
  for (const Command* command : AllCommands()) {
    if (command->hidden) continue;
    out += std::string(".SS ") + command->name + "\n" + roff::Text(command->summary) + ".\n.PP\n" +
           roff::Paragraphs(command->details) + Options(command->options);
  }
  if (const std::string more = PluginCommands(app); !more.empty())
    out += roff::Section("\"COMMANDS OF PLUGINS\"") + more;
  out +=
      roff::Section("OPTIONS") + "Of every command:\n" + Options(AllOptions(Command{})) +
      ".TP\n\\fB\\-\\-\\fIKEY\\fB=\\fIVALUE\\fR\nany configuration key, as in \\-\\-log.level=debug; see\n"
      ".BR clara\\-sandbox.conf (5)\n.TP\n\\fB\\-V\\fR, \\fB\\-\\-version\\fR\nprint the version\n" +
      roff::Section("\"EXIT STATUS\"") + roff::Paragraphs(kExitCodes) + roff::Section("ENVIRONMENT") +
      "Many configuration keys can be set by variables, which beat the file and are beaten by the command "
      "line:\n"
      "those of\n.BR clara\\-sandbox.conf (5).\n.TP\n\\fBCLARA_SANDBOX_CONFIG\\fR\nthe configuration file to "
      "read\n.TP\n\\fBNO_COLOR\\fR\nno colours, when not empty\n.TP\n"
      "\\fBNOTIFY_SOCKET\\fR, \\fBWATCHDOG_USEC\\fR, \\fBLISTEN_FDS\\fR\nof a service manager; `serve` takes "
      "them\n" +
      roff::Section("FILES") +
      ".TP\n\\fI/etc/clara\\-sandbox/clara\\-sandbox.conf\\fR\nthe configuration, where the user has none\n"
      ".TP\n\\fI/data/sandboxes\\fR\nworkspaces, where root runs it; other places: sandbox.data_dir\n"
      ".TP\n\\fI/var/lib/clara\\-sandbox\\fR\nwhat the host knows of users, where root runs it\n" +
      roff::Section("\"SEE ALSO\"") + ".BR clara\\-sandbox.conf (5),\n.BR bwrap (1)\n";
  return out;
}

int Manual(const Arguments& arguments) {
  const std::string which = arguments.rest.size() == 1 ? arguments.rest[0] : "";
  if (which != "1" && which != "5")
    return Fail(
        {CSB_E_INVALID, "manual: which one, 1 or 5?", "clara-sandbox manual 1 >clara-sandbox.1", false});
  AppOptions options = OptionsOf(arguments);
  options.quiet_level = "error";
  auto app = App::Create(options);
  if (!app) return Fail(app.error());
  const std::string text = which == "1" ? CommandManual(**app) : RenderManual((*app)->schema());
  std::fwrite(text.data(), 1, text.size(), stdout);
  return FinishOutput() ? kExitOk : kExitFailure;
}

}  // namespace

const Command kManualCommand = {"manual",
                                "1\n5",
                                "Print a manual page",
                                "1 is that of the commands, 5 that of the configuration, for man(1).",
                                {},
                                true,
                                Manual,
                                true};

}  // namespace csb::host
