// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/transport.h"

#include <openssl/ssl.h>
#include <poll.h>

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <functional>
#include <utility>

namespace csb::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Buffers = std::span<const asio::const_buffer>;

void CloseSocket(asio::ip::tcp::socket& socket) {
  error_code ignored;  // closing a socket twice, or one that the peer reset, is no news
  socket.close(ignored);
}

// Also while nothing is read: whether the peer has sent its last.
bool HungUp(asio::ip::tcp::socket& socket) {
  pollfd state{socket.native_handle(), POLLRDHUP, 0};
  return poll(&state, 1, 0) > 0;
}

class Plain final : public Transport {
 public:
  explicit Plain(asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}
  void Handshake(Events events) override {
    asio::post(socket_.get_executor(), [events = std::move(events)] { events->OnHandshake(true); });
  }
  void Read(char* to, size_t size, Events events) override {
    socket_.async_read_some(asio::buffer(to, size),
                            [events = std::move(events)](error_code ec, size_t n) { events->OnRead(ec, n); });
  }
  void Write(Buffers buffers, Events events) override {
    socket_.async_write_some(
        buffers, [events = std::move(events)](error_code ec, size_t n) { events->OnWritten(ec, n); });
  }
  void Shutdown(Events events) override {
    error_code ignored;  // the peer may be gone already
    socket_.shutdown(asio::socket_base::shutdown_send, ignored);
    asio::post(socket_.get_executor(), [events = std::move(events)] { events->OnShutdown(); });
  }
  bool PeerHungUp() override { return HungUp(socket_); }
  void Close() override { CloseSocket(socket_); }

 private:
  asio::ip::tcp::socket socket_;
};

class Tls final : public Transport {
 public:
  Tls(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context)
      : context_(std::move(context)), stream_(std::move(socket), *context_) {}
  void Handshake(Events events) override {
    stream_.async_handshake(asio::ssl::stream_base::server,
                            [events = std::move(events)](error_code ec) { events->OnHandshake(!ec); });
  }
  void Read(char* to, size_t size, Events events) override {
    // After the shutdown what comes is read over, as it is: it belongs to a session that has ended.
    if (ended_)
      return stream_.next_layer().async_read_some(
          asio::buffer(to, size),
          [events = std::move(events)](error_code ec, size_t n) { events->OnRead(ec, n); });
    reading_ = true;
    stream_.async_read_some(asio::buffer(to, size),
                            [this, to, size, events = std::move(events)](error_code ec, size_t n) {
                              reading_ = false;
                              if (closing_ == nullptr) return events->OnRead(ec, n);
                              cut_off_ = [this, to, size, events] { Read(to, size, events); };
                              StartShutdown();
                            });
  }
  void Write(Buffers buffers, Events events) override {
    stream_.async_write_some(
        buffers, [events = std::move(events)](error_code ec, size_t n) { events->OnWritten(ec, n); });
  }
  // A read and a shutdown cannot share the stream: the read is cancelled first, and goes on afterwards.
  void Shutdown(Events events) override {
    closing_ = std::move(events);
    if (!reading_) return StartShutdown();
    error_code ignored;
    stream_.next_layer().cancel(ignored);
  }
  bool PeerHungUp() override { return HungUp(stream_.next_layer()); }
  void Close() override { CloseSocket(stream_.next_layer()); }

 private:
  void StartShutdown() {
    stream_.async_shutdown([this, events = std::move(closing_)](error_code) {
      ended_ = true;
      if (cut_off_) std::exchange(cut_off_, nullptr)();
      events->OnShutdown();
    });
    closing_ = nullptr;
  }

  std::shared_ptr<asio::ssl::context> context_;
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
  bool reading_ = false;
  bool ended_ = false;
  Events closing_;
  std::function<void()> cut_off_;  // begins the cancelled read anew
};

int SelectProtocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                   unsigned int offered_size, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

Error TlsError(const char* option, const std::string& file, const error_code& ec, const char* hint) {
  return {CSB_E_INVALID, std::string(option) + " " + file + ": " + ec.message(), hint, false};
}

}  // namespace

std::unique_ptr<Transport> PlainTransport(asio::ip::tcp::socket socket) {
  return std::make_unique<Plain>(std::move(socket));
}
std::unique_ptr<Transport> TlsTransport(asio::ip::tcp::socket socket,
                                        std::shared_ptr<asio::ssl::context> context) {
  return std::make_unique<Tls>(std::move(socket), std::move(context));
}

Result<std::shared_ptr<asio::ssl::context>> LoadTls(const std::string& cert, const std::string& key) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                  SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);  // 32 KiB less for each idle connection
  SSL_CTX_set_alpn_select_cb(native, SelectProtocol, nullptr);
  error_code ec;
  context->set_password_callback([](size_t, asio::ssl::context::password_purpose) { return std::string(); },
                                 ec);
  if (!ec) context->use_certificate_chain_file(cert, ec);
  if (ec) return TlsError("http.tls_cert", cert, ec, "name a PEM file with the certificate and its chain");
  context->use_private_key_file(key, asio::ssl::context::pem, ec);
  if (ec)
    return TlsError("http.tls_key", key, ec, "name the PEM file of the certificate's key, not encrypted");
  if (SSL_CTX_check_private_key(native) != 1)
    return Error{CSB_E_INVALID, "http.tls_key " + key + " is not the key of http.tls_cert " + cert, "",
                 false};
  return context;
}

}  // namespace csb::http
