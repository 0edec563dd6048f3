// SPDX-License-Identifier: Apache-2.0
//
// transport.h: a connected socket, plain or TLS, as Connection sees it. All calls and callbacks on
// the thread of its io_context; a callback never comes from inside a call.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>
#include <memory>
#include <span>
#include <string>

#include "clara_sandbox/cpp/result.h"

namespace boost::asio::ssl {
class context;
}

namespace csb::http {

class TransportEvents {
 public:
  virtual void OnHandshake(bool ok) = 0;
  virtual void OnRead(boost::system::error_code error, size_t bytes) = 0;
  virtual void OnWritten(boost::system::error_code error, size_t bytes) = 0;
  virtual void OnShutdown() = 0;

 protected:
  ~TransportEvents() = default;
};

class Transport {
 public:
  virtual ~Transport() = default;
  using Events = std::shared_ptr<TransportEvents>;
  virtual void Handshake(Events events) = 0;
  // At most one of each at a time; the memory must stay until the callback.
  virtual void Read(char* to, size_t size, Events events) = 0;
  virtual void Write(std::span<const boost::asio::const_buffer> buffers, Events events) = 0;
  // Says that nothing more will be sent, and calls OnShutdown; a pending Read ends or goes on.
  virtual void Shutdown(Events events) = 0;
  // Whether the peer sends nothing more, or the connection is broken; looks, and reads nothing.
  virtual bool PeerHungUp() = 0;
  virtual void Close() = 0;
};

std::unique_ptr<Transport> PlainTransport(boost::asio::ip::tcp::socket socket);
std::unique_ptr<Transport> TlsTransport(boost::asio::ip::tcp::socket socket,
                                        std::shared_ptr<boost::asio::ssl::context> context);

// TLS 1.2 and later, HTTP/1.1 by ALPN. The files are PEM; an encrypted key is refused, not asked for.
Result<std::shared_ptr<boost::asio::ssl::context>> LoadTls(const std::string& cert, const std::string& key);

}  // namespace csb::http
