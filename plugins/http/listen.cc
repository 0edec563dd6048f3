// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/listen.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <charconv>
#include <cstring>
#include <sstream>

namespace csb::http {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

struct Address {
  sockaddr_storage raw{};
  socklen_t size = sizeof raw;
};

std::optional<Address> AddressOf(int fd) {
  Address address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.raw), &address.size) != 0) return std::nullopt;
  return address;
}

bool IsInternet(const Address& address) {
  return address.raw.ss_family == AF_INET || address.raw.ss_family == AF_INET6;
}

tcp::endpoint Endpoint(const Address& address) {
  tcp::endpoint endpoint;
  std::memcpy(endpoint.data(), &address.raw, std::min<size_t>(address.size, endpoint.capacity()));
  return endpoint;
}

int SocketOption(int fd, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

bool IsLoopback(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback();
  return address.is_loopback();
}

Error NoKey(const std::string& where) {
  return {CSB_E_INVALID,
          "refusing to listen on " + where +
              " without an API key: anyone who reaches it could "
              "run code here",
          "set SANDBOX_API_KEY (http.api_key) or http.keys_file, or listen on 127.0.0.1", false};
}

}  // namespace

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
    return NoKey(host);
  }
  return found;
}

Result<std::vector<int>> SocketsToListenOn(const std::vector<std::string>& numbers, bool has_key) {
  std::vector<int> sockets;
  for (const std::string& number : numbers) {
    int fd = -1;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), fd);
    const auto address = error == std::errc() && *end == 0 ? AddressOf(fd) : std::nullopt;
    if (!address || (!IsInternet(*address) && address->raw.ss_family != AF_UNIX) ||
        SocketOption(fd, SO_TYPE) != SOCK_STREAM || SocketOption(fd, SO_ACCEPTCONN) != 1)
      return Error{CSB_E_INVALID, "http.listen_fds: " + number + " is no listening stream socket",
                   "in the socket's unit write ListenStream=, and Accept=no or nothing", false};
    if (!has_key && IsInternet(*address) && !IsLoopback(Endpoint(*address).address()))
      return NoKey("the inherited socket " + NameOfSocket(fd, false));
    sockets.push_back(fd);
  }
  return sockets;
}

std::string NameOfSocket(int fd, bool tls) {
  const auto address = AddressOf(fd);
  if (!address) return "an unnamed socket";
  std::ostringstream name;
  if (IsInternet(*address)) {
    name << (tls ? "https://" : "http://") << Endpoint(*address);
  } else {
    const auto& local = reinterpret_cast<const sockaddr_un&>(address->raw);
    const size_t size = address->size - std::min<size_t>(address->size, offsetof(sockaddr_un, sun_path));
    std::string path(local.sun_path, size);
    if (!path.empty() && path[0] == 0) path[0] = '@';
    name << "unix:" << path.c_str();
  }
  return name.str();
}

}  // namespace csb::http
