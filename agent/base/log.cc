// SPDX-License-Identifier: Apache-2.0
#include "agent/base/log.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace csb::agent {

void Log(const char* format, ...) {
  static constexpr char kPrefix[] = "clara-sandbox-agent: ";
  char line[1024];
  std::memcpy(line, kPrefix, sizeof kPrefix - 1);
  char* text = line + sizeof kPrefix - 1;
  const size_t room = sizeof line - sizeof kPrefix;
  va_list args;
  va_start(args, format);
  const int wanted = std::vsnprintf(text, room, format, args);
  va_end(args);
  size_t size = wanted < 0 ? 0 : static_cast<size_t>(wanted) < room ? static_cast<size_t>(wanted) : room - 1;
  text[size] = '\n';
  // One write, so that lines of several processes never mix; nobody can be told of its failure.
  if (write(STDERR_FILENO, line, static_cast<size_t>(text - line) + size + 1) < 0) return;
}

}  // namespace csb::agent
