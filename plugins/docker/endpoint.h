// SPDX-License-Identifier: Apache-2.0
//
// endpoint.h: from the words of DOCKER_HOST to where requests go.
//
//   auto endpoint = ParseEndpoint("tcp://10.0.0.5:2376", true, "/etc/docker-certs");
#pragma once

#include <string>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"

namespace csb::docker {

// unix:///path, tcp://host[:port], http(s)://host[:port]; tls: with ca.pem, cert.pem and key.pem in the
// folder `certificates`. ssh:// and others are refused with what to do instead.
Result<HttpEndpoint> ParseEndpoint(const std::string& host, bool tls, const std::string& certificates);

}  // namespace csb::docker
