// SPDX-License-Identifier: Apache-2.0
//
// listen.h: which addresses http.host means, or which sockets http.listen_fds, and whether they may be served
// without a key.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <string>
#include <vector>

#include "clara_sandbox/cpp/result.h"

namespace csb::http {

// "" is 0.0.0.0 with a key and 127.0.0.1 without. Names are resolved ("localhost" may be two).
// CSB_E_INVALID without a key when any of them is beyond loopback.
Result<std::vector<boost::asio::ip::address>> AddressesToListenOn(const std::string& host, bool has_key);

// The descriptors of http.listen_fds. CSB_E_INVALID for what is no listening stream socket, and without a key
// when one has an address beyond loopback. A Unix socket needs none: the rights of its file say who may
// connect.
Result<std::vector<int>> SocketsToListenOn(const std::vector<std::string>& numbers, bool has_key);

// "http://127.0.0.1:8080", "unix:/run/x.sock"; of a bound socket.
std::string NameOfSocket(int fd, bool tls);

}  // namespace csb::http
