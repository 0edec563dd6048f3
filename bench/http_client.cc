// SPDX-License-Identifier: Apache-2.0
#include "bench/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <vector>

namespace csb::bench {

HttpClient::~HttpClient() { Close(); }

void HttpClient::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  buffer_.clear();
}

bool HttpClient::Connect(std::string* why) {
  if (fd_ >= 0) return true;
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return true;
  *why = std::string("connect: ") + strerror(errno);
  Close();
  return false;
}

bool HttpClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

HttpReply HttpClient::Receive(uint64_t* discard) {
  char chunk[256 << 10];
  size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    const ssize_t n = recv(fd_, chunk, sizeof chunk, 0);
    if (n <= 0) {
      Close();
      return {0, "the server closed the connection"};
    }
    buffer_.append(chunk, static_cast<size_t>(n));
  }
  HttpReply reply;
  const std::string head = buffer_.substr(0, end);
  buffer_.erase(0, end + 4);
  std::from_chars(head.data() + 9, head.data() + 12, reply.status);
  uint64_t length = 0;
  bool close_after = false;
  for (size_t at = head.find("\r\n"); at != std::string::npos; at = head.find("\r\n", at + 2)) {
    const char* line = head.c_str() + at + 2;
    if (strncasecmp(line, "content-length:", 15) == 0) length = strtoull(line + 15, nullptr, 10);
    if (strncasecmp(line, "connection: close", 17) == 0) close_after = true;
  }
  uint64_t taken = std::min<uint64_t>(length, buffer_.size());
  if (discard == nullptr) reply.body = buffer_.substr(0, taken);
  buffer_.erase(0, taken);
  while (taken < length) {
    const ssize_t n = recv(fd_, chunk, std::min<uint64_t>(sizeof chunk, length - taken), 0);
    if (n <= 0) {
      Close();
      return {0, "the server closed the connection inside a body"};
    }
    if (discard == nullptr) reply.body.append(chunk, static_cast<size_t>(n));
    taken += static_cast<uint64_t>(n);
  }
  if (discard != nullptr) *discard = taken;
  if (close_after) Close();
  return reply;
}

HttpReply HttpClient::Exchange(std::string_view request) {
  HttpReply reply;
  if (!Connect(&reply.body)) return reply;
  if (!Send(request)) {
    Close();
    return {0, "send failed"};
  }
  return Receive(nullptr);
}

HttpReply HttpClient::Get(std::string_view target, std::string_view accept) {
  return Exchange("GET " + std::string(target) +
                  " HTTP/1.1\r\nHost: localhost\r\nAccept: " + std::string(accept) + "\r\n\r\n");
}

HttpReply HttpClient::Post(std::string_view target, std::string_view json) {
  return Exchange("POST " + std::string(target) +
                  " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
                  std::to_string(json.size()) + "\r\n\r\n" + std::string(json));
}

HttpReply HttpClient::Delete(std::string_view target) {
  return Exchange("DELETE " + std::string(target) + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

HttpReply HttpClient::PostRaw(std::string_view target, uint64_t size) {
  HttpReply reply;
  if (!Connect(&reply.body)) return reply;
  std::vector<char> block(256 << 10, 'x');
  bool sent =
      Send("POST " + std::string(target) +
           " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: " +
           std::to_string(size) + "\r\n\r\n");
  for (uint64_t done = 0; sent && done < size; done += block.size())
    sent = Send({block.data(), static_cast<size_t>(std::min<uint64_t>(block.size(), size - done))});
  if (!sent) {
    Close();
    return {0, "send failed"};
  }
  return Receive(nullptr);
}

HttpReply HttpClient::GetRaw(std::string_view target, uint64_t* received) {
  HttpReply reply;
  if (!Connect(&reply.body)) return reply;
  if (!Send("GET " + std::string(target) +
            " HTTP/1.1\r\nHost: localhost\r\nAccept: application/octet-stream\r\n\r\n"))
    return {0, "send failed"};
  return Receive(received);
}

}  // namespace csb::bench
