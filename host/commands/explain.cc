// SPDX-License-Identifier: Apache-2.0
//
// explain: which backend a new sandbox would go to, and for each one what its probe found, what it enforces
// and why it is or is not chosen.
#include <algorithm>

#include "clara_sandbox/cpp/json.h"
#include "host/commands/ask.h"
#include "host/commands/commands.h"
#include "host/commands/print.h"
#include "host/log/logger.h"

namespace csb::host {
namespace {

std::string Text(const json::Value& object, std::string_view name) {
  return OneLine(json::GetString(object, name).value_or(""));
}

void PrintEnforced(const json::Value& enforces) {
  if (!enforces.IsObject()) return;
  for (const auto& member : enforces.GetObject()) {
    if (!member.value.IsObject()) continue;
    const bool yes = json::GetBool(member.value, "enforced").value_or(false);
    std::string name = OneLine({member.name.GetString(), member.name.GetStringLength()});
    name.resize(std::max<size_t>(name.size(), 13), ' ');
    std::string text = Text(member.value, "value");
    if (const std::string by = Text(member.value, "by"); !by.empty()) text += (text.empty() ? "" : ", ") + by;
    std::printf("    %s %s %s\n",
                yes ? Paint("yes", Colour::kGreen).c_str() : Paint("no ", Colour::kYellow).c_str(),
                name.c_str(), text.c_str());
  }
}

// What a backend found out and chose by itself: short values by the backend's own names.
void PrintDetails(const json::Value& details) {
  for (const auto& member : details.GetObject()) {
    std::string name = OneLine({member.name.GetString(), member.name.GetStringLength()});
    name.resize(std::max<size_t>(name.size(), 17), ' ');
    const std::string text = member.value.IsString()
                                 ? OneLine({member.value.GetString(), member.value.GetStringLength()})
                                 : OneLine(json::ToString(member.value));
    std::printf("    %s %s\n", name.c_str(), text.c_str());
  }
}

void PrintCandidate(const json::Value& candidate) {
  const bool chosen = json::GetBool(candidate, "chosen").value_or(false);
  const bool available = json::GetBool(candidate, "available").value_or(false);
  const char* state = chosen ? "chosen" : available ? "available" : "not available";
  const Colour colour = chosen ? Colour::kGreen : available ? Colour::kPlain : Colour::kYellow;
  std::printf("\n%s: %s\n", Paint(Text(candidate, "name"), Colour::kBold).c_str(),
              Paint(state, colour).c_str());
  for (const char* name : {"reason", "hint", "version", "isolation"})
    if (const std::string text = Text(candidate, name); !text.empty())
      std::printf("  %-9s %s\n", name, Wrapped(text, 12).c_str());
  if (const json::Value* enforces = json::Find(candidate, "enforces");
      enforces != nullptr && enforces->IsObject() && enforces->MemberCount() > 0) {
    std::puts("  enforces");
    PrintEnforced(*enforces);
  }
  if (const json::Value* details = json::Find(candidate, "details");
      details != nullptr && details->IsObject() && details->MemberCount() > 0) {
    std::puts("  details");
    PrintDetails(*details);
  }
}

// They are among the candidates, too.
void AddFailures(const std::vector<BackendFailure>& failures, json::Document& document) {
  auto& memory = document.GetAllocator();
  json::Value list(rapidjson::kArrayType);
  for (const BackendFailure& failure : failures) {
    json::Value entry(rapidjson::kObjectType);
    entry.AddMember("name", failure.name, memory);
    entry.AddMember("reason", failure.error.message, memory);
    entry.AddMember("hint", failure.error.hint, memory);
    list.PushBack(entry, memory);
  }
  document.AddMember("failed", list, memory);
}

int Explain(const Arguments& arguments) {
  AppOptions options = OptionsOf(arguments);
  options.quiet_level = "error";  // what would be warned about is printed here
  auto app = App::Create(options);
  if (!app) return Fail(app.error());
  if (auto status = (*app)->StartService(); !status) return Fail(status.error());
  auto result = Ask(*(*app)->service(), CSB_OP_EXPLAIN, "", "{}", std::chrono::seconds(30));
  if (!result) return Fail(result.error());
  auto document = json::ParseObject(*result);
  if (!document) return Fail(document.error());
  if (arguments.Has("json")) {
    AddFailures((*app)->backend_failures(), *document);
    std::puts(json::ToString(*document).c_str());
    return FinishOutput() ? kExitOk : kExitFailure;
  }
  const std::string chosen = Text(*document, "chosen");
  std::printf("mode %s: %s\n", Text(*document, "mode").c_str(),
              chosen.empty() ? Paint("no backend can be used", Colour::kRed).c_str()
                             : ("new sandboxes go to " + Paint(chosen, Colour::kBold)).c_str());
  for (const char* name : {"error", "hint"})
    if (const std::string text = Text(*document, name); !text.empty())
      std::printf("  %s\n", Wrapped(text, 2).c_str());
  if (const json::Value* candidates = json::Find(*document, "candidates");
      candidates != nullptr && candidates->IsArray())
    for (const json::Value& candidate : candidates->GetArray()) PrintCandidate(candidate);
  for (const auto& [path, error] : (*app)->plugins().refused)
    std::printf("\n%s %s\n", Paint("refused", Colour::kRed).c_str(), Wrapped(error.message, 2).c_str());
  return FinishOutput() ? kExitOk : kExitFailure;
}

constexpr OptionSpec kOptions[] = {{"json", 0, nullptr, "print JSON"}};

}  // namespace

const Command kExplainCommand = {"explain",
                                 "[--json] [OPTIONS]",
                                 "Explain which backend is chosen, and what each one enforces",
                                 "Asks every backend what it finds; makes no sandbox.",
                                 kOptions,
                                 false,
                                 Explain};

}  // namespace csb::host
