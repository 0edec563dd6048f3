// SPDX-License-Identifier: Apache-2.0
//
// engine_error.h: what went wrong with the engine, in words that its operator can act on.
//
//   if (!answer) return TransportError(endpoint, answer.error());
//   if (answer->status >= 400) return EngineError("create the instance m1", *answer);
#pragma once

#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"

namespace csb::incus {

// Of a call that got no answer (http_client.h). CSB_E_UNAVAILABLE, retryable where waiting may help: the
// daemon is down ("Incus daemon not running"), hangs ("the Incus daemon did not answer within 5 s": no
// deadline of the user's), or broke off; its socket may not be used ("Permission denied"), a certificate is
// refused. Errors that are not the engine's (CSB_E_CANCELLED, CSB_E_INVALID, …) come back as they are.
Error TransportError(const HttpEndpoint& endpoint, const Error& error);

// Of what the engine refused. code: its error_code, or the HTTP status. words: hostile; made printable, at
// most 512 bytes. what: "create the instance m1".
//   CSB_E_NOT_FOUND    404; an image that is not there
//   CSB_E_CONFLICT     409, 412 (the ETag does not match), taken names, things in use, an instance that is
//   busy
//                      (retryable)
//   CSB_E_FORBIDDEN    401, 403: the server does not trust our certificate, or not that far
//   CSB_E_NO_CAPACITY  a full pool or disk
//   CSB_E_UNSUPPORTED  virtual machines where the server can't run them; an image of the other type
//   CSB_E_UNAVAILABLE  all others; retryable: 5xx, 429, a server that starts or stops, a member that is down
Error EngineError(std::string_view what, int code, std::string_view words);
// Of an answer with a status of 400 or more, whatever its body.
Error EngineError(std::string_view what, const HttpResponse& answer);

// The server is about to stop: it says so to every request that would change something.
bool IsShutdown(int code, std::string_view words);

}  // namespace csb::incus
