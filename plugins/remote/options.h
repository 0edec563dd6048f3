// SPDX-License-Identifier: Apache-2.0
//
// options.h: the backend's options: declared once for the host's schema, read once into a struct.
//
//   auto options = ReadOptions(host);
//   if (!options) return options.error();      // names the option
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/result.h"
#include "clara_sandbox/plugin.h"
#include "plugins/common/http_client.h"

namespace csb::remote {

std::span<const csb_option> DeclaredOptions();

// One host of the service.
struct Address {
  std::string text;       // as it is told to people: "https://sandbox.example/base"
  HttpEndpoint endpoint;  // scheme and authority
  std::string base;       // "/base", or empty
};

struct Options {
  std::vector<Address> addresses;  // none: remote is not configured
  std::string key;
  std::chrono::milliseconds request_timeout{60'000};
  int retries = 2;
  bool shared = false;    // any address may serve any user
  bool in_clear = false;  // the key goes over plain HTTP beyond loopback
};

Result<Options> ReadOptions(const HostRef& host);

// "https://host:8443/base/" in its parts. Errors: CSB_E_INVALID, without a name and password that stand in
// it.
Result<Address> ParseAddress(std::string_view url);

}  // namespace csb::remote
