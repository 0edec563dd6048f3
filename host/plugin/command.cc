// SPDX-License-Identifier: Apache-2.0
#include "host/plugin/command.h"

#include <memory>
#include <mutex>

#include "clara_sandbox/operation.h"
#include "host/plugin/call.h"
#include "host/plugin/descriptor.h"
#include "host/plugin/host_table.h"

namespace csb::host {
namespace {

// What a command prints to, and the host it knows. Kept for ever: threads that it left behind may go on using
// both, and nothing happens then.
struct Run {
  Run(const std::string& name, HostServices& services) : plugin(name), host(name, services) {}

  static void Print(void* ctx, uint32_t stream, csb_str text) {
    if (ctx == nullptr) return;
    Run& run = *static_cast<Run*>(ctx);
    const std::lock_guard lock(run.mutex);
    const bool known = stream == CSB_STREAM_STDOUT || stream == CSB_STREAM_STDERR;
    const bool valid = known && (text.data != nullptr || text.size == 0);
    if (run.print == nullptr) return;
    if (valid) return (*run.print)(stream, View(text));
    const csb_host* host = run.host.table();
    host->log(host, CSB_LOG_WARN, Str("printed on a stream that there is none of, or no text (rule 33)"));
  }

  const std::string plugin;
  HostTable host;
  std::mutex mutex;
  const PrintText* print = nullptr;  // under mutex; null when the command is done
};

Run& MakeRun(const std::string& name, HostServices& services) {
  static auto* kept = new std::vector<std::unique_ptr<Run>>;
  static std::mutex kept_mutex;
  const std::lock_guard lock(kept_mutex);
  return *kept->emplace_back(std::make_unique<Run>(name, services));
}

}  // namespace

Result<const csb_command_v1*> FindCommands(const LoadedPlugin& plugin) {
  const void* table = nullptr;
  if (Status s = CallPlugin(plugin.descriptor->name, "get_interface",
                            [&] { table = plugin.descriptor->get_interface(CSB_COMMAND_V1); });
      !s)
    return std::move(s).error();
  const auto* commands = static_cast<const csb_command_v1*>(table);
  if (Status s = CheckCommandTable(plugin.descriptor->name, commands); !s) return std::move(s).error();
  return commands;
}

Status RunCommand(const LoadedPlugin& plugin, const csb_command_v1& table, const std::string& name,
                  const std::vector<std::string>& arguments, HostServices& services, const PrintText& print) {
  static constexpr csb_command_output kOutput{sizeof(csb_command_output), 0, &Run::Print};
  Run& run = MakeRun(plugin.descriptor->name, services);
  run.print = &print;
  std::vector<csb_str> words;
  for (const std::string& word : arguments) words.push_back(Str(word));
  csb_error error{sizeof(csb_error), 0, 0, 0, {}, {}};
  csb_status code = CSB_OK;
  const Status called = CallPlugin(run.plugin, "run", [&] {
    code = table.run(run.host.table(), name.c_str(), words.data(), static_cast<uint32_t>(words.size()),
                     &kOutput, &run, &error);
  });
  {
    const std::lock_guard lock(run.mutex);
    run.print = nullptr;
  }
  run.host.Detach();
  if (!called) return called;
  if (code != CSB_OK) return ErrorOfPlugin(run.plugin, "run", code, error);
  return {};
}

}  // namespace csb::host
