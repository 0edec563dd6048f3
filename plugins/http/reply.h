// SPDX-License-Identifier: Apache-2.0
//
// reply.h: answers that are made whole: status codes, error documents, date headers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/http/media.h"

namespace csb::http {

struct Reply {
  int status = 200;
  std::string_view content_type = kJson;  // static text; empty: no Content-Type
  std::string body;
  std::string fields;        // more header fields, each "Name: value\r\n"
  bool close = false;        // the connection ends with it
  csb_status code = CSB_OK;  // of an operation's error
};

// "Not Found"; "Error" for a code of no common name.
std::string_view ReasonPhrase(int status);
// The status of the REST interface for an operation's code (not for CSB_OK).
int StatusOf(csb_status code);

// {"error","detail","code"}; `detail` has the hint too. Retry-After where waiting helps.
Reply ErrorReply(const Error& error);
Reply ErrorReply(int status, std::string_view message, std::string_view hint = {});
std::string ErrorDocument(const Error& error);

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7).
std::string HttpDate(int64_t unix_seconds);
// Seconds since 1970 of "2024-05-01T10:00:00.123Z"; -1 when it is no such instant.
int64_t UnixSeconds(std::string_view rfc3339);

}  // namespace csb::http
