// SPDX-License-Identifier: Apache-2.0
//
// clara-sandbox-agent: the init of a sandbox. Serves the hosts that reach it (docs/agent-protocol.md) and
// holds the processes they start.
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/setup/run.h"

int main(int argc, char** argv) {
  // Memory of a burst goes back to the system instead of staying in free lists.
  mallopt(M_MMAP_THRESHOLD, 64 << 10);
  mallopt(M_TRIM_THRESHOLD, 64 << 10);
  mallopt(M_TOP_PAD, 16 << 10);
  const int code = csb::agent::RunAgent({argv + (argc > 0 ? 1 : 0), argv + argc});
  fflush(stdout);
  // No destructors: init's end is the sandbox's end, and the kernel takes everything with it.
  _exit(code);
}
