// SPDX-License-Identifier: Apache-2.0
//
// stop_init.h: an agent beside an init ends the whole machine, container or virtual, by asking that init.
//
//   if (auto stopped = StopInit(); !stopped) Log("%s", stopped.error().message.c_str());
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

// The signal by which process 1 powers the machine off: systemd's is SIGRTMIN+4 (systemd(1)), others
// (busybox) take SIGUSR2. `root` stands in for / in tests.
int PowerOffSignal(const std::string& root = "");

// Needs CAP_KILL, or the uid of process 1. Nothing is done by process 1 itself, whose end is the end anyway.
Status StopInit();

}  // namespace csb::agent
