// SPDX-License-Identifier: Apache-2.0
//
// engine_error.h: what went wrong with the engine, in words that its operator can act on.
//
//   if (!answer) return TransportError(endpoint, answer.error());
//   if (answer->status >= 400) return EngineError("create the container", *answer);
#pragma once

#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"

namespace csb::docker {

// Of a call that got no answer (http_client.h). CSB_E_UNAVAILABLE, retryable where waiting may help: the
// daemon is down ("Docker daemon not running"), hangs ("the Docker daemon did not answer within 5 s": no
// deadline of the user's), or broke off; its socket may not be used ("Permission denied"), a certificate is
// refused. Errors that are not the engine's (CSB_E_CANCELLED, CSB_E_INVALID, …) come back as they are.
Error TransportError(const HttpEndpoint& endpoint, const Error& error);

// Of an answer with a status of 400 or more; its body is {"message":"…"} (hostile: made printable, at most
// 512 bytes). 404 CSB_E_NOT_FOUND, 409 CSB_E_CONFLICT, "no space left on device" CSB_E_NO_CAPACITY with a
// hint, others CSB_E_UNAVAILABLE (5xx and 429 retryable). what: "create the container".
Error EngineError(std::string_view what, const HttpResponse& answer);

}  // namespace csb::docker
