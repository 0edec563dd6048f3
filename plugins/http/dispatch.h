// SPDX-License-Identifier: Apache-2.0
//
// dispatch.h: from a request's head to the Exchange that answers it: origin, key, route, user, rate
// and size are checked here, before a byte of the body is read. Needs no socket.
#pragma once

#include <memory>
#include <string>

#include "plugins/http/app.h"
#include "plugins/http/exchange.h"
#include "plugins/http/request_parser.h"

namespace csb::http {

struct Dispatched {
  std::unique_ptr<Exchange> exchange;  // never null
  bool head = false;                   // the answer's body is not sent
  std::string request_id;
  std::string fields;      // more header fields of whatever is answered
  const char* route = "";  // its template, for the access log
};

// What `head` views must live only for the call. `app` and `thread` outlive the exchange.
Dispatched Dispatch(App& app, ThreadState& thread, const RequestHead& head, Responder& out);

}  // namespace csb::http
