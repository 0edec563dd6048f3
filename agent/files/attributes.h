// SPDX-License-Identifier: Apache-2.0
//
// attributes.h: a file's attributes as JSON (docs/operations.md) and as `ls -la` prints them.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"

namespace csb::agent {

struct Entry {
  std::string name;    // bytes as the file system has them
  struct stat stat;    // of the link itself
  std::string target;  // of a link
};

// "2026-01-31T12:00:00.123Z"; years outside 0 to 9999 become the nearest.
std::string Rfc3339(const timespec& time);
// "0644"
std::string OctalMode(mode_t mode);
// file dir link fifo socket char block
std::string_view TypeName(mode_t mode);

// {"name","type","size","mode","mtime","target"?}. Where a name is not UTF-8 its bad bytes read as
// U+FFFD, and "name_escaped" has it in the reversible form of EscapeName.
void WriteEntry(json::Writer& w, const Entry& entry);

// One line each, columns aligned, no newline at the end of a line; `now` decides between time and
// year. Names as EscapeName makes them.
std::vector<std::string> LsLines(const std::vector<const Entry*>& entries, time_t now);

}  // namespace csb::agent
