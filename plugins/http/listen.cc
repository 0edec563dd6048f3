// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/listen.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace csb::http {

namespace asio = boost::asio;

Result<std::vector<asio::ip::address>> AddressesToListenOn(const std::string& host, bool has_key) {
  if (host.empty()) return std::vector{asio::ip::make_address(has_key ? "0.0.0.0" : "127.0.0.1")};
  std::vector<asio::ip::address> found;
  boost::system::error_code ec;
  const auto literal = asio::ip::make_address(host, ec);
  if (!ec) {
    found.push_back(literal);
  } else {
    asio::io_context io;
    asio::ip::tcp::resolver resolver(io);
    for (const auto& entry : resolver.resolve(host, "", asio::ip::tcp::resolver::passive, ec)) {
      const auto address = entry.endpoint().address();
      if (std::find(found.begin(), found.end(), address) == found.end()) found.push_back(address);
    }
    if (ec || found.empty())
      return Error{CSB_E_INVALID, "http.host " + host + ": " + (ec ? ec.message() : "has no address"),
                   "name an address of this machine, like 127.0.0.1 or 0.0.0.0", false};
  }
  for (const auto& address : found) {
    if (has_key || address.is_loopback()) continue;
    return Error{CSB_E_INVALID,
                 "refusing to listen on " + host +
                     " without an API key: anyone who reaches it could "
                     "run code here",
                 "set SANDBOX_API_KEY (http.api_key) or http.keys_file, or listen on 127.0.0.1", false};
  }
  return found;
}

}  // namespace csb::http
