// SPDX-License-Identifier: Apache-2.0
//
// calls.h: the REST calls that the cases are made of. What fails is told on stderr; false makes a row void.
#pragma once

#include <string>

#include "bench/http_client.h"

namespace csb::bench {

bool Succeeded(const HttpReply& reply);
bool Shell(HttpClient& client, const std::string& user);    // `true`; makes the sandbox when there is none
bool Execute(HttpClient& client, const std::string& user);  // Python, print(1)
void Destroy(HttpClient& client, const std::string& user);  // with its files

}  // namespace csb::bench
