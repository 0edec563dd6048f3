// SPDX-License-Identifier: Apache-2.0
//
// web_socket_fake_server.h: for tests of websockets: Beast's server on a connection of FakeServer.
//
//   FakeServer server([](FakeServer::Peer& peer) {
//     Served served(peer);
//     served.Echo();
//   });
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <string>
#include <string_view>

#include "plugins/common/http_fake_server.h"

namespace csb::testing {

// Blocking; of a server of Kind::kUnix. code: of what was done last.
class Served {
  using Local = boost::asio::local::stream_protocol;

 public:
  explicit Served(FakeServer::Peer& peer) : socket(context_) {
    socket.next_layer().assign(Local(), ::dup(peer.fd()));
    boost::beast::flat_buffer buffer;
    boost::beast::http::read(socket.next_layer(), buffer, request);
    socket.accept(request, code);
  }
  // After a request that was read already: its head.
  Served(FakeServer::Peer& peer, std::string_view head) : socket(context_) {
    socket.next_layer().assign(Local(), ::dup(peer.fd()));
    socket.accept(boost::asio::buffer(head), code);
  }
  // Of the next message; empty at the end too.
  std::string Read() {
    boost::beast::flat_buffer buffer;
    socket.read(buffer, code);
    return {static_cast<const char*>(buffer.cdata().data()), buffer.size()};
  }
  void Write(bool binary, std::string_view bytes) {
    socket.binary(binary);
    socket.write(boost::asio::buffer(bytes), code);
  }
  void Raw(std::string_view bytes) {
    boost::asio::write(socket.next_layer(), boost::asio::buffer(bytes), code);
  }
  void Close(boost::beast::websocket::close_code why, const char* words) {
    socket.close(boost::beast::websocket::close_reason(why, words), code);
  }
  void Echo() {
    for (;;) {
      const std::string got = Read();
      if (code) return;
      Write(socket.got_binary(), got);
    }
  }

 private:
  boost::asio::io_context context_;

 public:
  boost::beast::http::request<boost::beast::http::string_body> request;
  boost::beast::websocket::stream<Local::socket> socket;
  boost::system::error_code code;
};

}  // namespace csb::testing
