// SPDX-License-Identifier: Apache-2.0
//
// validate.h: checks a payload before anything else looks at it, by one table for each operation
// (docs/operations.md). Frontends therefore pass fields through as they came.
//
//   auto checked = Validate(CSB_OP_SHELL, R"({"command":"true","timeout":5})", limits);
//   if (!checked) return checked.error();   // "timeout: must be a number between 0.001 and 300 seconds"
//   Deadline(checked->timeout);
//
// Errors: CSB_E_BAD_REQUEST for what is no JSON object, CSB_E_INVALID with a message that begins
// with the member's name, CSB_E_TOO_LARGE for a payload over its bound. Unknown members are
// ignored; null counts as absent; a known member that stands there twice is refused, since another
// parser might take the other one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/operation.h"

namespace csb::host {

inline constexpr size_t kMaxPayload = 64 << 20;  // bytes of JSON text; code of 8 MiB can be escaped to 48
inline constexpr size_t kMaxCode = 8 << 20;
inline constexpr size_t kMaxCommand = 128 << 10;
inline constexpr size_t kMaxPath = 4096;
inline constexpr double kMinTimeout = 0.001;  // seconds

struct Limits {
  double default_execution_timeout = 30;  // seconds
  double max_execution_timeout = 300;
};

struct Checked {
  double timeout = 0;                  // seconds; 0: the operation has none of its own
  std::optional<std::string> backend;  // create: the backend asked for
  std::optional<std::string> payload;  // set when the payload was brought into another form: use this
};

// CSB_E_BAD_REQUEST for an operation that does not exist.
Result<Checked> Validate(uint32_t op, std::string_view payload, const Limits& limits);

}  // namespace csb::host
