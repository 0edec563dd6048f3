// SPDX-License-Identifier: Apache-2.0
//
// clara-sandbox runs code that nobody vouches for. host/commands/ has the commands.
#include "host/commands/commands.h"

int main(int argc, char** argv) { return csb::host::Main(argc, argv); }
