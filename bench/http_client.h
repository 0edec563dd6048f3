// SPDX-License-Identifier: Apache-2.0
//
// http_client.h: a blocking keep-alive HTTP/1.1 client over one loopback connection, so thin
// that what is measured is the server.
//
//   HttpClient client(8080);
//   HttpReply reply = client.Post("/sandbox/u/shell", R"({"command":"true"})");
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace csb::bench {

struct HttpReply {
  int status = 0;  // 0: the connection failed, `body` says why
  std::string body;
};

class HttpClient {
 public:
  explicit HttpClient(uint16_t port) : port_(port) {}
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  HttpReply Get(std::string_view target, std::string_view accept = "application/json");
  HttpReply Post(std::string_view target, std::string_view json);
  HttpReply Delete(std::string_view target);
  // Sends `size` bytes that `fill` produces, as a raw body.
  HttpReply PostRaw(std::string_view target, uint64_t size);
  // Reads a raw body of any size and throws it away; `received` gets its size.
  HttpReply GetRaw(std::string_view target, uint64_t* received);

 private:
  bool Connect(std::string* why);
  void Close();
  bool Send(std::string_view bytes);
  HttpReply Receive(uint64_t* discard);
  HttpReply Exchange(std::string_view request);

  uint16_t port_;
  int fd_ = -1;
  std::string buffer_;
};

}  // namespace csb::bench
