// SPDX-License-Identifier: Apache-2.0
//
// complete: for shells; deploy/completion has what calls it. Hidden: it is of no use to a person.
#include "host/commands/complete.h"

#include <cstdio>

#include "clara_sandbox/plugin.h"
#include "host/commands/commands.h"
#include "host/commands/print.h"
#include "host/plugin/command.h"

namespace csb::host {
namespace {

using Words = std::vector<std::string>;

class Completer {
 public:
  Completer(const Words& words, const CompletionView& view) : view_(view), now_(words.back()) {
    for (size_t i = 0; i + 1 < words.size(); ++i) Pass(words[i]);
  }

  Words Offers() {
    if (!value_of_.empty()) {
      OfferValues(value_of_, "");
    } else if (const size_t equals = now_.find('='); now_.starts_with("--") && equals != std::string::npos) {
      OfferValues(now_.substr(2, equals - 2), now_.substr(0, equals + 1));
    } else if (now_.starts_with('-') && !closed_) {
      OfferOptions();
    } else if (command_.empty()) {
      OfferCommands();
    } else if (command_ == "help" && rest_ == 0) {
      OfferCommands();
    } else if (command_ == "config" && rest_ == 0) {
      Offer("show");
      Offer("check");
    } else if (const auto it = view_.plugin_commands.find(command_);
               it != view_.plugin_commands.end() && rest_ == 0) {
      for (const std::string& name : it->second) Offer(name);
    }
    return std::move(offers_);
  }

 private:
  const Command* Known() const {
    for (const Command* command : AllCommands())
      if (command_ == command->name) return command;
    return nullptr;
  }
  std::vector<OptionSpec> Specs() const {
    const Command* command = Known();
    return AllOptions(command != nullptr ? *command : Command{});
  }

  // A word before the last one: a command, an option, an option's value, or the rest.
  void Pass(const std::string& word) {
    if (!value_of_.empty()) {
      value_of_.clear();
    } else if (closed_) {
      ++rest_;
    } else if (word == "--") {
      closed_ = true;
    } else if (word.starts_with("--") && word.find('=') == std::string::npos) {
      const std::string name = word.substr(2);
      if (name.find('.') != std::string::npos) value_of_ = name;
      for (const OptionSpec& spec : Specs())
        if (name == spec.name && spec.value != nullptr) value_of_ = name;
    } else if (word.starts_with('-') && word.size() == 2) {
      for (const OptionSpec& spec : Specs())
        if (word[1] == spec.letter && spec.value != nullptr) value_of_ = spec.name;
    } else if (word.starts_with('-') && word.size() > 1) {
    } else if (command_.empty()) {
      command_ = word;
    } else {
      ++rest_;
      // What follows a program's name is the program's; `config show` and plugins' commands have options of
      // ours.
      closed_ = command_ == "run";
    }
  }

  void Offer(const std::string& word) {
    if (word.starts_with(now_)) offers_.push_back(word);
  }

  void OfferCommands() {
    for (const Command* command : AllCommands())
      if (!command->hidden) Offer(command->name);
    for (const auto& [name, commands] : view_.plugin_commands) Offer(name);
    if (command_.empty()) Offer("help");
  }

  void OfferOptions() {
    for (const OptionSpec& spec : Specs()) Offer(std::string("--") + spec.name);
    if (command_.empty()) Offer("--version");
    if (view_.schema == nullptr || !now_.starts_with("--")) return;
    for (const Option& option : view_.schema->options()) Offer("--" + option.key + "=");
  }

  void OfferValues(const std::string& name, const std::string& before) {
    const auto offer = [&](const std::string& value) { Offer(before + value); };
    if (name == "backend" || name == "sandbox.mode" || name == "sandbox.backends" || name == "sandbox.order")
      for (const std::string& backend : view_.backends) offer(backend);
    if (name == "sandbox.mode") offer("auto");
    const Option* option = view_.schema != nullptr ? view_.schema->Find(name) : nullptr;
    if (option == nullptr) return;
    for (const std::string& choice : option->type.choices) offer(choice);
    if (option->type.type == CSB_OPTION_BOOL)
      for (const char* value : {"true", "false"}) offer(value);
  }

  const CompletionView& view_;
  const std::string now_;
  std::string command_, value_of_;
  size_t rest_ = 0;      // words behind the command
  bool closed_ = false;  // no options any more
  Words offers_;
};

int Complete(const Arguments& arguments) {
  AppOptions options;
  options.silent = true;
  CompletionView view;
  auto app = App::Create(options);  // with a wrong configuration there are commands, but no keys
  if (app) {
    view.schema = &(*app)->schema();
    for (const LoadedPlugin& plugin : (*app)->plugins().plugins) {
      const std::string name = plugin.descriptor->name;
      if (plugin.descriptor->kind == CSB_KIND_BACKEND) view.backends.push_back(name);
      if (auto table = FindCommands(plugin))
        for (uint32_t i = 0; i < (*table)->command_count; ++i)
          view.plugin_commands[name].emplace_back(CommandAt(**table, i)->name);
    }
  }
  for (const std::string& offer : Completions(arguments.rest, view)) std::puts(offer.c_str());
  return FinishOutput() ? kExitOk : kExitFailure;
}

}  // namespace

std::vector<std::string> Completions(const std::vector<std::string>& words, const CompletionView& view) {
  return words.empty() ? Words() : Completer(words, view).Offers();
}

const Command kCompleteCommand = {"complete",
                                  "-- WORD…",
                                  "Print what may stand in the place of the last word",
                                  "For shells: the words behind clara-sandbox, up to the cursor.",
                                  {},
                                  true,
                                  Complete,
                                  true};

}  // namespace csb::host
