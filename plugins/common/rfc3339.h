// SPDX-License-Identifier: Apache-2.0
//
// rfc3339.h: instants as records and infos hold them.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace csb {

// Now, RFC 3339 UTC with milliseconds.
std::string Rfc3339Now();
// "2026-11-27T07:00:00.123456789Z", also with an offset as "+01:00"; to the second.
std::optional<std::chrono::system_clock::time_point> ParseRfc3339(const std::string& text);
// By another's clock and ours: minutes are meant. What is no instant is not.
bool OlderThan(const std::string& text, std::chrono::minutes age);

}  // namespace csb
