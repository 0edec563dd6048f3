// SPDX-License-Identifier: Apache-2.0
//
// command.h: commands of a plugin's own, as in `clara-sandbox mine login NAME`.
//
//   Status Login(csb::HostRef host, const csb::CommandArguments& arguments, csb::CommandOutput output) {
//     if (arguments.size() != 1) return csb::Error{CSB_E_INVALID, "one NAME is expected", "", false};
//     output.Print("logged in as " + std::string(arguments[0]) + "\n");
//     return {};
//   }
//   constexpr csb::Command kCommands[] = {
//       {.name = "login", .arguments = "NAME", .summary = "Log in", .run = &Login}};
//
//   CSB_PLUGIN_BACKEND_WITH_COMMANDS(MyBackend, kPlugin, &csb::CommandTable<kCommands>)   // in plugin.cc
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string_view>
#include <vector>

#include "clara_sandbox/command.h"
#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/plugin.h"
#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/operation.h"

namespace csb {

// Where a command prints; valid until it returns. Any thread.
class CommandOutput {
 public:
  CommandOutput(const csb_command_output* output, void* ctx) : output_(output), ctx_(ctx) {}
  void Print(std::string_view text) const { output_->print(ctx_, CSB_STREAM_STDOUT, Str(text)); }
  // Beside what it is asked for: warnings, progress.
  void Note(std::string_view text) const { output_->print(ctx_, CSB_STREAM_STDERR, Str(text)); }

 private:
  const csb_command_output* output_;
  void* ctx_;
};

// Borrowed, like everything that comes in.
using CommandArguments = std::vector<std::string_view>;

struct Command {
  const char* name;
  const char* arguments = "";
  const char* summary = "";
  const char* details = "";
  // Exceptions become CSB_E_INTERNAL.
  Status (*run)(HostRef host, const CommandArguments& arguments, CommandOutput output) = nullptr;
};

namespace detail {

template <const auto& kCommands>
struct CommandTableOf {
  static constexpr size_t kCount = std::size(kCommands);
  static constexpr std::array<csb_command, kCount> MakeList() {
    std::array<csb_command, kCount> list{};
    for (size_t i = 0; i < kCount; ++i) {
      const Command& c = kCommands[i];
      list[i] = {sizeof(csb_command), 0, c.name, c.arguments, c.summary, c.details};
    }
    return list;
  }
  static constexpr std::array<csb_command, kCount> kList = MakeList();

  static csb_status Run(const csb_host* host, const char* name, const csb_str* arguments,
                        uint32_t argument_count, const csb_command_output* output, void* ctx,
                        csb_error* error) noexcept {
    return Guard(name, error, [&]() -> Status {
      for (const Command& command : kCommands) {
        if (std::strcmp(command.name, name) != 0) continue;
        CommandArguments words;
        for (uint32_t i = 0; i < argument_count; ++i) words.push_back(View(arguments[i]));
        return command.run(HostRef(host), words, CommandOutput(output, ctx));
      }
      return Error{CSB_E_UNSUPPORTED, std::string("no command ") + name, "", false};
    });
  }
  static constexpr csb_command_v1 kTable{sizeof(csb_command_v1), static_cast<uint32_t>(kCount), kList.data(),
                                         &Run};
};

// The table of a plugin's kind, and its commands.
template <GetInterface kOfItsKind, const csb_command_v1* (*kCommands)()>
const void* GetInterfaceOrCommands(const char* id) noexcept {
  return id != nullptr && std::strcmp(id, CSB_COMMAND_V1) == 0 ? kCommands() : kOfItsKind(id);
}

}  // namespace detail

// kCommands: a constexpr array of Command at namespace scope.
template <const auto& kCommands>
const csb_command_v1* CommandTable() {
  return &detail::CommandTableOf<kCommands>::kTable;
}

}  // namespace csb

// As CSB_PLUGIN_BACKEND and CSB_PLUGIN_FRONTEND (include backend.h or frontend.h), with commands besides;
// `commands` is a function that returns the table.
#define CSB_PLUGIN_BACKEND_WITH_COMMANDS(Type, descriptor, commands) \
  CSB_PLUGIN_ENTRY_FUNCTION(                                         \
      CSB_KIND_BACKEND, descriptor,                                  \
      (&::csb::detail::GetInterfaceOrCommands<&::csb::detail::BackendTable<Type>::GetInterface, commands>))
#define CSB_PLUGIN_FRONTEND_WITH_COMMANDS(Type, descriptor, commands) \
  CSB_PLUGIN_ENTRY_FUNCTION(                                          \
      CSB_KIND_FRONTEND, descriptor,                                  \
      (&::csb::detail::GetInterfaceOrCommands<&::csb::detail::FrontendTable<Type>::GetInterface, commands>))
