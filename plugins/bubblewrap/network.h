// SPDX-License-Identifier: Apache-2.0
//
// network.h: the way out for network=pasta: pasta(1) carries the sandbox's packets as the host's own
// connections. Nothing is forwarded in, the gateway is not mapped to the host, and the agent makes
// private ranges unreachable before any code runs.
//
//   auto pasta = StartPasta({"/usr/bin/pasta", launcher}, init_pid, uids);   // returns once it is configured
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/bubblewrap/uid_pair.h"
#include "plugins/common/process.h"

namespace csb::bwrap {

struct PastaPrograms {
  std::string pasta, launcher;
};

// Blocks until the interface is up. The process runs under the agent's uid; the cleaner ends it.
Result<ProcessId> StartPasta(const PastaPrograms& programs, pid_t init, const UidPair& uids);

// The resolv.conf inside: an address that pasta forwards to the host's name server.
std::string PastaResolvConf();

}  // namespace csb::bwrap
