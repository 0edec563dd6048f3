// SPDX-License-Identifier: Apache-2.0
#include "host/commands/check_probe.h"

#include <algorithm>

#include "clara_sandbox/cpp/json.h"
#include "host/log/logger.h"
#include "host/service/policy.h"

namespace csb::host {
namespace {

using Level = Finding::Level;

std::string Text(const json::Value& object, std::string_view name) {
  return OneLine(json::GetString(object, name).value_or(""));
}

}  // namespace

bool CheckProbe(const std::string& backend, std::string_view answer, Findings& findings) {
  const std::string name = "backend " + backend;
  auto probe = json::ParseObject(answer);
  if (!probe) {
    findings.push_back({Level::kFail, name, "its probe's answer is " + probe.error().message, ""});
    return false;
  }
  const std::string reason = Text(*probe, "reason"), hint = Text(*probe, "hint");
  if (!json::GetBool(*probe, "available").value_or(false)) {
    findings.push_back({Level::kFail, name, reason.empty() ? "not available" : reason, hint});
    return false;
  }
  std::string text = Text(*probe, "version");
  if (const std::string isolation = Text(*probe, "isolation"); !isolation.empty())
    text += (text.empty() ? "" : "; ") + isolation;
  findings.push_back({Level::kOk, name, text.empty() ? "available" : text, reason.empty() ? hint : ""});
  if (!reason.empty()) findings.push_back({Level::kOk, name, reason, hint});
  const json::Value* enforces = json::Find(*probe, "enforces");
  if (enforces == nullptr || !enforces->IsObject()) return true;
  for (const auto& member : enforces->GetObject()) {
    if (!member.value.IsObject() || json::GetBool(member.value, "enforced").value_or(true)) continue;
    const std::string limit = OneLine({member.name.GetString(), member.name.GetStringLength()});
    const bool required = std::find(kProtections.begin(), kProtections.end(), limit) != kProtections.end();
    findings.push_back(
        {required ? Level::kWarn : Level::kOk, name, limit + " is not enforced: " + Text(member.value, "by"),
         required
             ? "A service beyond loopback refuses this, unless sandbox.allow_unenforced names " + limit + "."
             : std::string()});
  }
  return true;
}

}  // namespace csb::host
