// SPDX-License-Identifier: Apache-2.0
//
// remote_events_fuzz.cc: the reader of a service's event streams. The first byte chooses how the rest is cut
// into pieces; whatever the pieces, the same events have to come out, and none after one was enough.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/remote/events.h"

namespace {

struct Events {
  std::vector<std::string> all;
  bool broken = false;
  bool operator==(const Events&) const = default;
};

// Takes at most `enough` events.
Events Read(std::string_view stream, size_t size, size_t enough) {
  Events events;
  csb::remote::EventReader reader;
  while (!stream.empty() && events.all.size() < enough) {
    const std::string_view piece = stream.substr(0, size);
    stream.remove_prefix(piece.size());
    const csb::Status read = reader.Read(piece, [&](std::string_view data) {
      if (events.all.size() == enough) abort();
      if (data.size() > csb::remote::EventReader::kMaxEvent || data.find('\r') != data.npos) abort();
      events.all.emplace_back(data);
      return events.all.size() < enough;
    });
    if (!read) {
      events.broken = true;
      break;
    }
  }
  return events;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t piece = data[0] % 16u + 1, enough = data[0] < 128 ? SIZE_MAX : data[0] % 4u + 1;
  if (!(Read(stream, stream.size() + 1, enough) == Read(stream, piece, enough))) abort();
  return 0;
}
