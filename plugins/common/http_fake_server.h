// SPDX-License-Identifier: Apache-2.0
//
// http_fake_server.h: for tests of HTTP clients: a server that answers what the test says, byte for byte.
//
//   FakeServer server([](FakeServer::Peer& peer) {
//     while (!peer.Request().empty()) peer.Send(Answer("{}"));
//   });
//   auto client = HttpClient::Create(reactor, server.endpoint());
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "plugins/common/http_client.h"
#include "plugins/common/unique_fd.h"

namespace csb::testing {

inline std::string Answer(std::string_view body, std::string_view status = "200 OK") {
  return "HTTP/1.1 " + std::string(status) +
         "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

class FakeServer {
 public:
  class Peer {
   public:
    explicit Peer(int fd) : fd_(fd) {}
    // Head and body of the next request; empty when the client is gone.
    std::string Request() {
      size_t head = std::string::npos, size = 0;
      for (;;) {
        if (head == std::string::npos && (head = buffer_.find("\r\n\r\n")) != std::string::npos) {
          head += 4;
          const size_t length = buffer_.find("Content-Length: ");
          size = head + (length < head ? std::strtoul(buffer_.c_str() + length + 16, nullptr, 10) : 0);
        }
        if (head != std::string::npos && buffer_.size() >= size) {
          std::string request = buffer_.substr(0, size);
          buffer_.erase(0, size);
          return request;
        }
        if (!More()) return "";
      }
    }
    // The next chunk behind the head of a request that comes in chunks: empty at its end, none when the
    // client is gone.
    std::optional<std::string> Chunk() {
      for (;;) {
        if (const size_t line = buffer_.find("\r\n"); line != std::string::npos) {
          const size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
          if (buffer_.size() >= line + 2 + size + 2) {
            std::string chunk = buffer_.substr(line + 2, size);
            buffer_.erase(0, line + 2 + size + 2);
            return chunk;
          }
        }
        if (!More()) return std::nullopt;
      }
    }
    // False when the client is gone.
    bool Send(std::string_view bytes) {
      while (!bytes.empty()) {
        const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes.remove_prefix(static_cast<size_t>(n));
      }
      return true;
    }
    int fd() const { return fd_; }

   private:
    bool More() {
      char piece[16 << 10];
      const ssize_t n = ::recv(fd_, piece, sizeof piece, 0);
      if (n > 0) buffer_.append(piece, static_cast<size_t>(n));
      return n > 0;
    }

    int fd_;
    std::string buffer_;
  };
  using Serve = std::function<void(Peer&)>;  // on a thread a connection; the connection is closed after it
  enum class Kind { kUnix, kTcp };

  explicit FakeServer(Serve serve, Kind kind = Kind::kUnix, std::string path = {})
      : serve_(std::move(serve)) {
    if (kind == Kind::kUnix) {
      if (path.empty()) {
        char folder[] = "/tmp/csb-http-XXXXXX";
        EXPECT_NE(::mkdtemp(folder), nullptr);
        folder_ = folder;
        path = folder_ + "/server.sock";
      }
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      path.copy(address.sun_path, sizeof address.sun_path - 1);
      ::unlink(path.c_str());
      listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
      endpoint_ = {.url = "http://engine", .unix_socket = path};
    } else {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof address;
      listener_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
      EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
      endpoint_.url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    }
    EXPECT_EQ(::listen(listener_.get(), 512), 0);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~FakeServer() {
    Stop();
    if (folder_.empty()) return;
    ::unlink(endpoint_.unix_socket.c_str());
    ::rmdir(folder_.c_str());
  }

  // Ends every connection; the path of its socket stays, as after the end of a process.
  void Stop() {
    if (!acceptor_.joinable()) return;
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    {
      std::lock_guard lock(mu_);
      for (const UniqueFd& fd : peers_) ::shutdown(fd.get(), SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    listener_.reset();
  }

  const HttpEndpoint& endpoint() const { return endpoint_; }
  int connections() const { return connections_; }

 private:
  void Accept() {
    for (;;) {
      UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) return;
      ++connections_;
      const int raw = fd.get();
      {
        std::lock_guard lock(mu_);
        peers_.push_back(std::move(fd));
      }
      threads_.emplace_back([this, raw] {
        Peer peer(raw);
        serve_(peer);
        std::lock_guard lock(mu_);
        for (UniqueFd& mine : peers_)
          if (mine.get() == raw) mine.reset();
      });
    }
  }

  Serve serve_;
  std::string folder_;
  HttpEndpoint endpoint_;
  UniqueFd listener_;
  std::atomic<int> connections_{0};
  std::mutex mu_;
  std::vector<UniqueFd> peers_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace csb::testing
