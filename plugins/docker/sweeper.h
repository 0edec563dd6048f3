// SPDX-License-Identifier: Apache-2.0
//
// sweeper.h: what hosts that were killed, and engines that were restarted, left behind. Everything that is
// ours carries the installation's label; what lives is left alone, what is half made or dead is removed, and
// what was lost on our side is written down anew from the labels.
//
//   if (Status s = Sweep(host, registry, engine, names); !s) …   // the engine does not answer
//
// Safe beside other host processes: whatever belongs to a user is touched under that user's lock, whatever
// belongs to a host process only once that is dead. A kill at any point leaves work for the next sweep.
#pragma once

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/docker/registry.h"

namespace csb::docker {

Status Sweep(const HostRef& host, Registry& registry);

}  // namespace csb::docker
