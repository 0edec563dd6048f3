// SPDX-License-Identifier: Apache-2.0
//
// sweeper.h: what hosts that were killed, and servers that were restarted, left behind. Everything that is
// ours carries the installation's key; what lives is left alone, what no record names or is half made is
// removed, and what was lost of our records is written down anew from the volumes.
//
//   if (Status s = Sweep(host, registry); !s) …   // the engine does not answer
//
// Safe beside other hosts, on other machines too: whatever belongs to a user is touched under that user's
// lock and by who has seen the record as it is; whatever belongs to a host process only once that is dead,
// and of hosts elsewhere, which can't be seen, only what has ended or is old. A kill at any point leaves work
// for the next sweep.
#pragma once

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/incus/registry.h"

namespace csb::incus {

Status Sweep(const HostRef& host, Registry& registry);

}  // namespace csb::incus
