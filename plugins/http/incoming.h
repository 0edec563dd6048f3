// SPDX-License-Identifier: Apache-2.0
//
// incoming.h: what an Exchange keeps of a request's head, owned.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "plugins/http/routes.h"
#include "plugins/http/target.h"

namespace csb::http {

struct Incoming {
  const Route* route = nullptr;
  Target target;
  std::string user;
  std::string request_id;
  bool head = false;  // HEAD: the answer's body is left out by the connection
  bool has_body = false;
  std::optional<uint64_t> content_length;
  std::string web_socket_key, web_socket_protocol;  // of a good handshake; the protocol that was agreed on
  std::string content_type, accept, range, if_range, if_none_match;
};

}  // namespace csb::http
