// SPDX-License-Identifier: Apache-2.0
//
// stub.cc: csb_files_stub OP ARGS_JSON WORKSPACE: one file operation from the command line, input on
// 0, output on 1 and 2, result lines on 3. Linked statically as the agent is, so that the tests see
// what a static binary without a locale does.
#include <cstdio>

#include "agent/files/task.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    fputs("usage: csb_files_stub OP ARGS_JSON WORKSPACE 3>results\n", stderr);
    return 2;
  }
  const auto args = csb::json::ParseObject(argv[2]);
  if (!args) {
    fprintf(stderr, "%s\n", args.error().message.c_str());
    return 2;
  }
  return csb::agent::RunFileTask(argv[1], *args, {0, 1, 2, 3, argv[3]});
}
