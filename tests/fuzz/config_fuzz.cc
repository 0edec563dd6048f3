// SPDX-License-Identifier: Apache-2.0
//
// A configuration file that nobody vouches for: its lines, and every value through every type of option.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "host/config/file.h"
#include "host/config/host_options.h"
#include "host/config/schema.h"
#include "host/config/suggest.h"
#include "host/config/value.h"

using namespace csb::host;

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

const Schema& HostSchema() {
  static const Schema* const schema = [] {
    auto* made = new Schema;
    Require(made->Add("host", HostOptions()).ok());
    return made;
  }();
  return *schema;
}

// A normal form is a value again, and its own normal form.
void CheckEveryType(const std::string& text) {
  for (uint32_t type = CSB_OPTION_STRING; type <= CSB_OPTION_SECRET; ++type) {
    const ValueType value_type{.type = type, .choices = {"none", "host"}};
    const auto value = Normalise(value_type, text, "/etc", "/home/u");
    if (!value) continue;
    const auto again = Normalise(value_type, *value, "/etc", "/home/u");
    Require(again.ok() && *again == *value);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  CheckEveryType(text);
  Require(Quoted(text).find('\n') == std::string::npos);
  const auto settings = ParseConfigText(text, "fuzz.conf");
  if (!settings) {
    Require(settings.error().message.starts_with("fuzz.conf:"));
    return 0;
  }
  for (const Setting& setting : *settings) {
    CheckEveryType(setting.value);
    if (HostSchema().Find(setting.key) == nullptr) (void)Nearest(setting.key, HostSchema().Keys());
  }
  return 0;
}
