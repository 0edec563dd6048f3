// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/acceptor.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <sstream>

namespace csb::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kBacklog = 1024;
constexpr int kAcceptsAtOnce = 64;  // then the connections that are there get their turn
constexpr auto kPause = std::chrono::seconds(1);

Error Failed(const tcp::endpoint& endpoint, const char* call, int number) {
  std::ostringstream name;
  name << endpoint;
  Error error{CSB_E_IO, std::string(call) + " " + name.str() + ": " + std::strerror(number), "", false};
  if (number == EADDRINUSE)
    error.hint = "another program listens there: choose another SANDBOX_API_PORT (http.port)";
  if (number == EACCES)
    error.hint = "ports below 1024 need the right to bind them: choose a higher http.port";
  if (number == EADDRNOTAVAIL || number == EAFNOSUPPORT) {
    error.code = CSB_E_NOT_FOUND;
    error.hint = "http.host is no address of this machine";
  }
  return error;
}

void Set(int fd, int level, int option) {
  const int on = 1;
  // Without it a connection is slower, or a dead peer noticed later; both are no reason to refuse it.
  static_cast<void>(setsockopt(fd, level, option, &on, sizeof on));
}

}  // namespace

// By hand: Asio opens and accepts without close-on-exec, and the host starts programs.
Result<std::shared_ptr<Acceptor>> Acceptor::Listen(asio::io_context& io, HostRef host,
                                                   const tcp::endpoint& endpoint) {
  const int family = endpoint.protocol().family();
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Failed(endpoint, "socket", errno);
  Set(fd, SOL_SOCKET, SO_REUSEADDR);
  if (family == AF_INET6 && !endpoint.address().is_unspecified()) Set(fd, IPPROTO_IPV6, IPV6_V6ONLY);
  if (bind(fd, endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 || listen(fd, kBacklog) != 0) {
    const int number = errno;
    close(fd);
    return Failed(endpoint, "listen on", number);
  }
  auto self = std::make_shared<Acceptor>(io, host);
  error_code ec;
  self->acceptor_.assign(endpoint.protocol(), fd, ec);
  if (ec) {
    close(fd);
    return Failed(endpoint, "listen on", ec.value());
  }
  return self;
}

Result<std::shared_ptr<Acceptor>> Acceptor::Adopt(asio::io_context& io, HostRef host, int fd) {
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
    return Error{CSB_E_IO, "inherited socket " + std::to_string(fd) + ": " + std::strerror(errno), "", false};
  auto self = std::make_shared<Acceptor>(io, host);
  error_code ec;
  // The protocol is for opening sockets; Asio does nothing with it here that a Unix socket would mind.
  self->acceptor_.assign(tcp::v4(), fd, ec);
  if (ec) return Error{CSB_E_IO, "inherited socket " + std::to_string(fd) + ": " + ec.message(), "", false};
  return self;
}

uint16_t Acceptor::port() const {
  error_code ignored;  // a bound socket has a name
  return acceptor_.local_endpoint(ignored).port();
}

void Acceptor::Start(Accepted accepted) {
  accepted_ = std::move(accepted);
  Wait();
}

void Acceptor::Close() {
  error_code ignored;  // closing twice is no news
  acceptor_.close(ignored);
  pause_.cancel();
}

void Acceptor::Wait() {
  acceptor_.async_wait(asio::socket_base::wait_read, [self = shared_from_this()](error_code ec) {
    if (!ec && self->acceptor_.is_open()) self->AcceptAll();
  });
}

void Acceptor::AcceptAll() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    tcp::endpoint peer;
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int fd = accept4(acceptor_.native_handle(), reinterpret_cast<sockaddr*>(&address), &size,
                           SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      if (address.ss_family != AF_UNIX && size <= peer.capacity()) {
        std::memcpy(peer.data(), &address, size);
        peer.resize(size);
      }
      Set(fd, IPPROTO_TCP, TCP_NODELAY);
      Set(fd, SOL_SOCKET, SO_KEEPALIVE);
      accepted_(fd, peer);
      continue;
    }
    if (errno == EAGAIN) break;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // The socket stays readable: without a pause this would spin.
      host_.LogWarn(std::string("accept: ") + std::strerror(errno) + "; new connections wait a second");
      pause_.expires_after(kPause);
      pause_.async_wait([self = shared_from_this()](error_code ec) {
        if (!ec && self->acceptor_.is_open()) self->Wait();
      });
      return;
    }
    // The connection is gone before it was taken (ECONNABORTED and the network errors of accept(2)).
  }
  Wait();
}

}  // namespace csb::http
