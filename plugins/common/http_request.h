// SPDX-License-Identifier: Apache-2.0
//
// http_request.h: what http_client.h and http_upgrade.h say of a request in common.
#pragma once

#include <chrono>
#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"

namespace csb {

// Refuses (CSB_E_INVALID) what would stand in the request's head as something else than was meant.
Status CheckRequest(const HttpRequest& request);

// "GET /v1.41/info": without the query, which may be long; printable.
std::string RequestName(const HttpRequest& request);

// CSB_E_DEADLINE: "GET /x: no answer within 5 s", "GET /x: nothing came for 300 ms".
Error NoAnswer(const std::string& name, std::chrono::milliseconds limit);
Error StreamStalled(const std::string& name, std::chrono::milliseconds limit);

}  // namespace csb
