// SPDX-License-Identifier: Apache-2.0
//
// listen.h: which addresses http.host means, and whether they may be served without a key.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::http {

// "" is 0.0.0.0 with a key and 127.0.0.1 without. Names are resolved ("localhost" may be two).
// CSB_E_INVALID without a key when any of them is beyond loopback.
Result<std::vector<boost::asio::ip::address>> AddressesToListenOn(const std::string& host, bool has_key);

}  // namespace csb::http
