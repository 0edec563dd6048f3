// SPDX-License-Identifier: Apache-2.0
//
// The backend that must go on working whatever its neighbours do: answers with what it was asked. Its command
// prints its arguments and the option good.word, and fails when told to.
#include "clara_sandbox/cpp/backend.h"
#include "clara_sandbox/cpp/command.h"

namespace {

class Good : public csb::Backend {
 public:
  static csb::Result<std::unique_ptr<Good>> Create(csb::HostRef) { return std::make_unique<Good>(); }
  csb::Result<std::shared_ptr<csb::Operation>> Submit(const csb::RequestView& request,
                                                      csb::EventSink sink) override {
    sink.Output(CSB_STREAM_STDOUT, request.payload);
    sink.Done(R"({"good":true})");
    return std::shared_ptr<csb::Operation>();
  }
};

csb::Status Echo(csb::HostRef host, const csb::CommandArguments& arguments, csb::CommandOutput output) {
  if (arguments.empty()) return csb::Error{CSB_E_INVALID, "no WORD was given", "give at least one", false};
  if (arguments[0] == "fail") return csb::Error{CSB_E_UNAVAILABLE, "told to fail", "say another word", false};
  if (arguments[0] == "throw") throw std::runtime_error("told to throw");
  output.Print(host.Text("good.word") + ":");
  for (const std::string_view word : arguments) output.Print(" [" + std::string(word) + "]");
  output.Print("\n");
  output.Note("noted\n");
  return {};
}

constexpr csb::Command kCommands[] = {{.name = "echo",
                                       .arguments = "WORD…",
                                       .summary = "Print words",
                                       .details = "Prints good.word and the words.",
                                       .run = &Echo}};
constexpr csb_option kOptions[] = {
    csb::Option({.key = "good.word", .default_value = "said", .help = "What stands before the words."})};
constexpr csb::PluginDescriptor kPlugin{
    .name = "good", .version = "1.0.0", .description = "Answers", .options = kOptions};

}  // namespace

CSB_PLUGIN_BACKEND_WITH_COMMANDS(Good, kPlugin, &csb::CommandTable<kCommands>)
