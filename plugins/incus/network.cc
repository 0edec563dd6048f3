// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/network.h"

#include "plugins/incus/limits.h"

namespace csb::incus {

Networks::Networks(HostRef host, Engine& engine, const Options& options, const Names& names)
    : host_(host), engine_(engine), options_(options), names_(names) {}

Result<Attachment> Networks::Prepare(const Limits& limits) {
  Attachment out;
  if (limits.network == "none") return out;
  out.network = limits.network;
  return out;
}

}  // namespace csb::incus
