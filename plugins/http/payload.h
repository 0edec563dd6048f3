// SPDX-License-Identifier: Apache-2.0
//
// payload.h: the service's payload out of a request's query and JSON body: the members that the
// route's table names, as they came. What they may be is the service's to check; unknown members
// are dropped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/http/routes.h"
#include "plugins/http/target.h"

namespace csb::http {

struct OutputBound {
  uint64_t head = 0, tail = 0;  // bytes of each stream
};

struct Payload {
  std::string json;
  std::optional<std::string> input;  // from `stdin`, or a file's decoded `content`
  std::optional<OutputBound> bound;  // what the answer will have to hold
  bool base64 = false;               // a run's output is wanted as base64 (`encoding`)
};

struct PayloadOptions {
  // Buffered answers: most bytes of each stream; becomes the member `output`. 0: as the client says.
  uint64_t max_output = 0;
  // `content` with `encoding` becomes the input (a file's JSON form).
  bool content_is_input = false;
};

// CSB_E_BAD_REQUEST for a body that is no JSON object, CSB_E_INVALID for a field, which is named.
Result<Payload> BuildPayload(const Route& route, const Target& target, std::string_view body,
                             const PayloadOptions& options);

}  // namespace csb::http
