// SPDX-License-Identifier: Apache-2.0
//
// openapi.h: the OpenAPI 3.1 description of the routes.
#pragma once

#include <string>

namespace csb::http {

// The whole document; made once at start.
std::string OpenApiDocument();

}  // namespace csb::http
