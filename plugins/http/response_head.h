// SPDX-License-Identifier: Apache-2.0
//
// response_head.h: a response's status line and header fields, and the line before a chunk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/http/reply.h"

namespace csb::http {

struct HeadOptions {
  bool http11 = true;
  bool close = false;
  bool chunked = false;
  std::optional<uint64_t> length;  // none: chunked, or until the connection ends, or no body at all
  std::string_view request_id;
  std::string_view more;  // header fields beyond those of the reply, each with its CRLF
};

// With room behind it for a small body.
std::string ResponseHead(const HeadOptions& options, const Reply& reply);
// "1f\r\n"
std::string ChunkHead(size_t size);

}  // namespace csb::http
