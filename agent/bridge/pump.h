// SPDX-License-Identifier: Apache-2.0
//
// pump.h: bytes both ways between two files and a socket, with bounded memory.
//
//   Pump(STDIN_FILENO, STDOUT_FILENO, socket, signals);
#pragma once

namespace csb::agent {

// Makes all of them non-blocking, and returns when `in` or the socket is at its end (what had come is passed
// on first, for a moment), when `out` is read by nobody, or when `stop` has something to read. Expects
// SIGPIPE to be ignored.
void Pump(int in, int out, int socket, int stop);

}  // namespace csb::agent
