// SPDX-License-Identifier: Apache-2.0
//
// listing.h: reads what `ls -la` prints, for services that answer a listing as text only. Lines that are none
// of its are passed over; of a date only what it says is told, since ls leaves out the year or the time.
//
//   for (const Entry& entry : ReadListing("-rw-r--r-- 1 u u 5 Nov 27 11:00 a b\n")) …   // "a b", 5 bytes
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/json.h"

namespace csb::remote {

struct Entry {
  std::string name, type, mode, target;  // type and mode as docs/operations.md has them
  uint64_t size = 0;
};

// Without `.`, `..` and the line of the total.
std::vector<Entry> ReadListing(std::string_view text);
void WriteEntries(json::Writer& w, const std::vector<Entry>& entries);

}  // namespace csb::remote
