// SPDX-License-Identifier: Apache-2.0
#include "host/plugin/descriptor.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <string>

#include "clara_sandbox/cpp/plugin.h"
#include "host/plugin/command.h"
#include "host/plugin/loader.h"

namespace csb::host {

namespace {

constexpr const char* kRebuild =
    "build the plugin against the headers of this host, or install the version for it";
constexpr const char* kFault = "this is a fault of the plugin; see docs/plugin-contract.md";
constexpr uint32_t kMaxOptions = 1000;
constexpr uint32_t kMaxCommands = 100;

// What a plugin of the first release has. Fields added later are optional: test them with CSB_HAS.
#define CSB_END_OF(type, field) (offsetof(type, field) + sizeof(type::field))
constexpr size_t kPluginSize = CSB_END_OF(csb_plugin, get_interface);
constexpr size_t kOptionSize = CSB_END_OF(csb_option, max);
constexpr size_t kBackendSize = CSB_END_OF(csb_backend_v1, calls);  // NOLINT(bugprone-sizeof-expression)
constexpr size_t kCallsSize = CSB_END_OF(csb_op_calls, close);
constexpr size_t kFrontendSize = CSB_END_OF(csb_frontend_v1, reload);
constexpr size_t kCommandSize = CSB_END_OF(csb_command, details);
constexpr size_t kCommandTableSize = CSB_END_OF(csb_command_v1, run);

Error Mismatch(const std::string& who, const char* field, const std::string& has, const std::string& needs) {
  return {CSB_E_UNSUPPORTED, who + ": " + field + " is " + has + ", this host needs " + needs, kRebuild,
          false};
}
Error Broken(const std::string& who, const std::string& what) {
  return {CSB_E_INVALID, who + ": " + what, kFault, false};
}

Status CheckSize(const std::string& who, const char* field, uint32_t size, size_t needed) {
  if (size < needed) return Mismatch(who, field, std::to_string(size), "at least " + std::to_string(needed));
  return {};
}

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", value);
  return text;
}

bool ValidName(const char* name) {
  const size_t size = strnlen(name, 33);
  if (size == 0 || size > 32 || name[0] < 'a' || name[0] > 'z') return false;
  for (size_t i = 0; i < size; ++i) {
    const char c = name[i];
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
  }
  return true;
}

Status CheckOption(const std::string& who, const csb_plugin& plugin, uint32_t index) {
  const auto broken = [&](const std::string& what) {
    return Broken(who, "option " + std::to_string(index) + " " + what);
  };
  const csb_option& option = *OptionAt(plugin, index);
  if (Status s = CheckSize(who, "csb_option.struct_size", option.struct_size, kOptionSize); !s) return s;
  if (option.struct_size != plugin.options->struct_size || option.struct_size % alignof(csb_option) != 0)
    return broken("has another struct_size than the first, or one that is not a multiple of its alignment");
  if (option.key == nullptr) return broken("has no key");
  const std::string prefix = std::string(plugin.name) + ".";
  const size_t size = strnlen(option.key, 128);
  if (size == 128 || size <= prefix.size() || std::strncmp(option.key, prefix.c_str(), prefix.size()) != 0)
    return broken("has the key '" + std::string(option.key, std::min<size_t>(size, 100)) +
                  "', which must start with '" + prefix + "'");
  if (option.type < CSB_OPTION_STRING || option.type > CSB_OPTION_SECRET)
    return Error{CSB_E_UNSUPPORTED,
                 who + ": option " + option.key + " has type " + std::to_string(option.type) +
                     ", this host knows 1 to " + std::to_string(CSB_OPTION_SECRET),
                 kRebuild, false};
  if (option.help == nullptr || option.help[0] == 0)
    return broken(std::string("(") + option.key + ") has no help text");
  if (option.type == CSB_OPTION_CHOICE && (option.choices == nullptr || option.choices[0] == 0))
    return broken(std::string("(") + option.key + ") is a choice without choices");
  if (!std::isfinite(option.min) || !std::isfinite(option.max) || option.min > option.max)
    return broken(std::string("(") + option.key + ") has a minimum above its maximum");
  return {};
}

// The first function that is missing is reported by its name.
struct Function {
  const char* name;
  bool present;
};
Status CheckTable(const std::string& who, const char* name, std::initializer_list<Function> functions) {
  for (const Function& f : functions)
    if (!f.present) return Broken(who, std::string(name) + "." + f.name + " is null");
  return {};
}

}  // namespace

Status CheckDescriptor(const std::string& path, const csb_plugin* plugin) {
  const std::string who = "plugin " + path;
  if (plugin == nullptr) return Broken(who, CSB_PLUGIN_ENTRY " returned null");
  if (plugin->struct_size < offsetof(csb_plugin, abi_minor))  // too short even to tell what it is
    return CheckSize(who, "csb_plugin.struct_size", plugin->struct_size, kPluginSize);
  if (plugin->magic != CSB_PLUGIN_MAGIC)
    return Mismatch(who, "csb_plugin.magic", Hex(plugin->magic), Hex(CSB_PLUGIN_MAGIC));
  if (plugin->abi_major != CSB_ABI_MAJOR)
    return Mismatch(who, "csb_plugin.abi_major", std::to_string(plugin->abi_major),
                    std::to_string(CSB_ABI_MAJOR));
  if (Status s = CheckSize(who, "csb_plugin.struct_size", plugin->struct_size, kPluginSize); !s) return s;
  if (plugin->kind != CSB_KIND_BACKEND && plugin->kind != CSB_KIND_FRONTEND)
    return Mismatch(who, "csb_plugin.kind", std::to_string(plugin->kind), "1 (backend) or 2 (frontend)");
  if (plugin->name == nullptr) return Broken(who, "csb_plugin.name is null");
  if (!ValidName(plugin->name))
    return Broken(who, "csb_plugin.name '" + std::string(plugin->name, strnlen(plugin->name, 40)) +
                           "' is not of the form [a-z][a-z0-9-]{0,31}");
  if (plugin->version == nullptr) return Broken(who, "csb_plugin.version is null");
  if (plugin->description == nullptr) return Broken(who, "csb_plugin.description is null");
  if (plugin->get_interface == nullptr) return Broken(who, "csb_plugin.get_interface is null");
  if (plugin->option_count > kMaxOptions)
    return Broken(who, "csb_plugin.option_count is " + std::to_string(plugin->option_count) + ", at most " +
                           std::to_string(kMaxOptions) + " are possible");
  if (plugin->option_count > 0 && plugin->options == nullptr)
    return Broken(who,
                  "csb_plugin.options is null, but option_count is " + std::to_string(plugin->option_count));
  for (uint32_t i = 0; i < plugin->option_count; ++i)
    if (Status option = CheckOption(who, *plugin, i); !option) return option;
  return {};
}

Status CheckBackendTable(std::string_view plugin, const csb_backend_v1* table) {
  const std::string who = "plugin " + std::string(plugin);
  if (table == nullptr)
    return Error{CSB_E_UNSUPPORTED, who + " does not offer " CSB_BACKEND_V1, kRebuild, false};
  if (Status s = CheckSize(who, "csb_backend_v1.struct_size", table->struct_size, kBackendSize); !s) return s;
  if (Status s = CheckTable(who, "csb_backend_v1",
                            {{"create", table->create != nullptr},
                             {"destroy", table->destroy != nullptr},
                             {"submit", table->submit != nullptr},
                             {"calls", table->calls != nullptr}});
      !s)
    return s;
  const csb_op_calls* calls = table->calls;
  if (Status s = CheckSize(who, "csb_op_calls.struct_size", calls->struct_size, kCallsSize); !s) return s;
  return CheckTable(who, "csb_op_calls",
                    {{"input", calls->input != nullptr},
                     {"credit", calls->credit != nullptr},
                     {"cancel", calls->cancel != nullptr},
                     {"close", calls->close != nullptr}});
}

Status CheckFrontendTable(std::string_view plugin, const csb_frontend_v1* table) {
  const std::string who = "plugin " + std::string(plugin);
  if (table == nullptr)
    return Error{CSB_E_UNSUPPORTED, who + " does not offer " CSB_FRONTEND_V1, kRebuild, false};
  if (Status s = CheckSize(who, "csb_frontend_v1.struct_size", table->struct_size, kFrontendSize); !s)
    return s;
  return CheckTable(who, "csb_frontend_v1",
                    {{"create", table->create != nullptr},
                     {"start", table->start != nullptr},
                     {"stop", table->stop != nullptr},
                     {"destroy", table->destroy != nullptr}});
}

Status CheckCommandTable(std::string_view plugin, const csb_command_v1* table) {
  const std::string who = "plugin " + std::string(plugin);
  if (table == nullptr)
    return Error{CSB_E_UNSUPPORTED, who + " has no commands", "`clara-sandbox --help` lists those there are",
                 false};
  if (Status s = CheckSize(who, "csb_command_v1.struct_size", table->struct_size, kCommandTableSize); !s)
    return s;
  if (table->command_count == 0 || table->command_count > kMaxCommands)
    return Broken(who, "csb_command_v1.command_count is " + std::to_string(table->command_count) + ", 1 to " +
                           std::to_string(kMaxCommands) + " are possible");
  if (Status s = CheckTable(who, "csb_command_v1",
                            {{"commands", table->commands != nullptr}, {"run", table->run != nullptr}});
      !s)
    return s;
  for (uint32_t i = 0; i < table->command_count; ++i) {
    const csb_command& command = *CommandAt(*table, i);
    const std::string which = "command " + std::to_string(i) + " ";
    if (Status s = CheckSize(who, "csb_command.struct_size", command.struct_size, kCommandSize); !s) return s;
    if (command.struct_size != table->commands->struct_size ||
        command.struct_size % alignof(csb_command) != 0)
      return Broken(who, which +
                             "has another struct_size than the first, or one that is not a multiple of its "
                             "alignment");
    if (command.name == nullptr || !ValidName(command.name))
      return Broken(who, which + "has no name of the form [a-z][a-z0-9-]{0,31}");
    if (command.arguments == nullptr || command.details == nullptr || command.summary == nullptr ||
        command.summary[0] == 0)
      return Broken(who, which + "(" + command.name + ") has no arguments, details or summary");
    for (uint32_t j = 0; j < i; ++j)
      if (std::strcmp(CommandAt(*table, j)->name, command.name) == 0)
        return Broken(who, which + "has the name '" + command.name + "' of another");
  }
  return {};
}

}  // namespace csb::host
