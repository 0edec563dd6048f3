// SPDX-License-Identifier: Apache-2.0
//
// What a backend says of itself, read with care: an answer that is no JSON object or has members
// of wrong types is an answer of a backend that is not available.
#include "clara_sandbox/cpp/json.h"
#include "host/selection/selection.h"

namespace csb::host {

ProbeResult ParseProbe(std::string_view text) {
  ProbeResult probe;
  probe.enforces = "{}";
  probe.details = "{}";
  auto doc = json::ParseObject(text);
  if (!doc) {
    probe.reason = "its probe answered with something else than JSON: " + doc.error().message;
    probe.hint = "this is a fault of the backend's plugin";
    return probe;
  }
  const auto text_of = [&](const char* name) {
    return std::string(json::GetString(*doc, name).value_or(std::string_view()));
  };
  const auto available = json::GetBool(*doc, "available");
  if (!available) {
    probe.reason = "its probe's result does not say whether it is available";
    probe.hint = "this is a fault of the backend's plugin: \"available\" has to be true or false";
    return probe;
  }
  probe.available = *available;
  probe.reason = text_of("reason");
  probe.hint = text_of("hint");
  probe.version = text_of("version");
  probe.isolation = text_of("isolation");
  probe.own_channel = json::GetBool(*doc, "own_channel") == true;
  if (const auto* details = json::Find(*doc, "details"); details != nullptr && details->IsObject()) {
    probe.virtual_machine = json::GetString(*details, "type") == "vm";
    probe.details = json::ToString(*details);
  }
  if (const auto* enforces = json::Find(*doc, "enforces"); enforces != nullptr && enforces->IsObject()) {
    probe.enforces = json::ToString(*enforces);
    for (const auto& member : enforces->GetObject())
      if (json::GetBool(member.value, "enforced") == false)
        probe.not_enforced.push_back(member.name.GetString());
    if (const auto* network = json::Find(*enforces, "network"); network != nullptr && network->IsObject())
      probe.network_none =
          json::GetBool(*network, "enforced") == true && json::GetString(*network, "value") == "none";
  }
  return probe;
}

}  // namespace csb::host
