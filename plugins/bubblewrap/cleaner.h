// SPDX-License-Identifier: Apache-2.0
//
// cleaner.h: ends what a user's live record speaks of and removes every trace but the files: the
// processes, pasta, control groups, sockets, the record. Works for a sandbox in any state, also half
// launched by a host that was killed.
//
//   Cleaner(host, paths).Clean();    // the user's lock is held; blocks until the processes are gone
#pragma once

#include "clara_sandbox/cpp/host_ref.h"
#include "plugins/bubblewrap/paths.h"
#include "plugins/bubblewrap/record.h"

namespace csb::bwrap {

class Cleaner {
 public:
  Cleaner(HostRef host, const Paths& paths) : host_(host), paths_(paths) {}
  void Clean() const;

 private:
  void EndProcesses(const LiveRecord& live) const;
  const HostRef host_;
  const Paths& paths_;
};

}  // namespace csb::bwrap
