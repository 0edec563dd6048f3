// SPDX-License-Identifier: Apache-2.0
//
// http_client.h: a blocking keep-alive HTTP/1.1 client over one connection, to a loopback port or a unix
// socket, so thin that what is measured is the server.
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
  explicit HttpClient(std::string socket_path) : socket_path_(std::move(socket_path)) {}
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  HttpReply Get(std::string_view target, std::string_view accept = "application/json");
  HttpReply Post(std::string_view target, std::string_view json);
  HttpReply Delete(std::string_view target);
  // Sends `size` bytes of no meaning as a raw body.
  HttpReply PostRaw(std::string_view target, uint64_t size);
  // Sends a body as it is.
  HttpReply Put(std::string_view target, std::string_view type, std::string_view body);
  // Reads a raw body of any size and throws it away; `received` gets its size.
  HttpReply GetRaw(std::string_view target, uint64_t* received);

 private:
  struct Head;
  bool Connect(std::string* why);
  void Close();
  bool Send(std::string_view bytes);
  bool Fill();
  bool ReadHead(Head* head);
  bool Take(uint64_t size, std::string* keep);
  bool TakeChunks(std::string* keep, uint64_t* size);
  uint64_t TakeAll(std::string* keep);
  HttpReply Receive(uint64_t* discard);
  HttpReply Exchange(std::string_view request);

  uint16_t port_ = 0;
  std::string socket_path_;
  int fd_ = -1;
  std::string buffer_;
};

}  // namespace csb::bench
