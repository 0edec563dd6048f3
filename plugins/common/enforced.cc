// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/enforced.h"

namespace csb {

void WriteEnforced(json::Writer& w, const Enforced& enforced) {
  w.StartObject();
  for (const auto& [name, e] : enforced) {
    json::Key(w, name);
    w.StartObject();
    json::Member(w, "enforced", e.enforced);
    json::Member(w, "value", e.value);
    json::Member(w, "by", e.by);
    if (!e.configured) json::Member(w, "configured", false);
    w.EndObject();
  }
  w.EndObject();
}

}  // namespace csb
