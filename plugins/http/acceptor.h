// SPDX-License-Identifier: Apache-2.0
//
// acceptor.h: one listening socket. Hands out accepted sockets (non-blocking, close-on-exec,
// TCP_NODELAY) and pauses when the process has no descriptors left.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "clara_sandbox/cpp/host_ref.h"

namespace csb::http {

class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  using Accepted = std::function<void(int fd, const boost::asio::ip::tcp::endpoint& peer)>;

  // Binds and listens. Errors name the address and what to do; CSB_E_NOT_FOUND: this machine has no such
  // address.
  static Result<std::shared_ptr<Acceptor>> Listen(boost::asio::io_context& io, HostRef host,
                                                  const boost::asio::ip::tcp::endpoint& endpoint);
  // Takes over an open listening socket, TCP or Unix. A Unix peer is the unspecified address, port 0.
  static Result<std::shared_ptr<Acceptor>> Adopt(boost::asio::io_context& io, HostRef host, int fd);
  Acceptor(boost::asio::io_context& io, HostRef host) : acceptor_(io), pause_(io), host_(host) {}

  uint16_t port() const;  // of a TCP socket
  int fd() { return acceptor_.native_handle(); }
  // On io's thread from now on.
  void Start(Accepted accepted);
  void Close();

 private:
  void Wait();
  void AcceptAll();

  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_;
  const HostRef host_;
  Accepted accepted_;
};

}  // namespace csb::http
