// SPDX-License-Identifier: Apache-2.0
//
// events.h: takes a stream of server-sent events (WHATWG HTML, section 9.2) apart as it comes. Of each event
// only its data is told, which here is one JSON object with its name inside.
//
//   EventReader reader;
//   Status s = reader.Read(bytes, [&](std::string_view data) { … return true; });
//
// Hostile input: an event may have kMaxEvent bytes, whatever comes in how many pieces.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"

namespace csb::remote {

class EventReader {
 public:
  static constexpr size_t kMaxEvent = 4 << 20;

  // Calls `take` for each event that is complete; it stops when that returns false. Errors: CSB_E_TOO_LARGE.
  Status Read(std::string_view bytes, const std::function<bool(std::string_view data)>& take);

 private:
  bool Line(std::string_view line, const std::function<bool(std::string_view)>& take);

  std::string line_;  // so far
  std::string data_;
  bool has_data_ = false;
  bool after_return_ = false;  // a line feed right behind belongs to the same end of line
};

}  // namespace csb::remote
