// SPDX-License-Identifier: Apache-2.0
#include "bench/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
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
  const bool local = !socket_path_.empty();
  fd_ = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int done = -1;
  if (local) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path_.copy(address.sun_path, sizeof address.sun_path - 1);
    done = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
  } else {
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    done = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  if (done == 0) return true;
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

bool HttpClient::Fill() {
  char chunk[64 << 10];
  const ssize_t n = recv(fd_, chunk, sizeof chunk, 0);
  if (n <= 0) return false;
  buffer_.append(chunk, static_cast<size_t>(n));
  return true;
}

struct HttpClient::Head {
  int status = 0;
  uint64_t length = 0;
  bool has_length = false, chunked = false, close = false;
};

bool HttpClient::ReadHead(Head* out) {
  size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos)
    if (!Fill()) return false;
  const std::string head = buffer_.substr(0, end);
  buffer_.erase(0, end + 4);
  std::from_chars(head.data() + 9, head.data() + 12, out->status);
  for (size_t at = head.find("\r\n"); at != std::string::npos; at = head.find("\r\n", at + 2)) {
    const char* line = head.c_str() + at + 2;
    if (strncasecmp(line, "content-length:", 15) == 0) {
      out->length = strtoull(line + 15, nullptr, 10);
      out->has_length = true;
    }
    if (strncasecmp(line, "transfer-encoding: chunked", 26) == 0) out->chunked = true;
    if (strncasecmp(line, "connection: close", 17) == 0) out->close = true;
  }
  return true;
}

bool HttpClient::Take(uint64_t size, std::string* keep) {
  const uint64_t had = std::min<uint64_t>(size, buffer_.size());
  if (keep != nullptr) keep->append(buffer_, 0, had);
  buffer_.erase(0, had);
  char chunk[256 << 10];
  for (uint64_t left = size - had; left > 0;) {
    const ssize_t n = recv(fd_, chunk, std::min<uint64_t>(sizeof chunk, left), 0);
    if (n <= 0) return false;
    if (keep != nullptr) keep->append(chunk, static_cast<size_t>(n));
    left -= static_cast<uint64_t>(n);
  }
  return true;
}

bool HttpClient::TakeChunks(std::string* keep, uint64_t* size) {
  for (;;) {
    size_t line;
    while ((line = buffer_.find("\r\n")) == std::string::npos)
      if (!Fill()) return false;
    const uint64_t length = strtoull(buffer_.c_str(), nullptr, 16);
    buffer_.erase(0, line + 2);
    // Trailers are not waited for: no server here sends any.
    if (!Take(length, keep) || !Take(2, nullptr)) return false;
    *size += length;
    if (length == 0) return true;
  }
}

uint64_t HttpClient::TakeAll(std::string* keep) {
  uint64_t size = 0;
  do {
    size += buffer_.size();
    if (keep != nullptr) keep->append(buffer_);
    buffer_.clear();
  } while (Fill());
  return size;
}

HttpReply HttpClient::Receive(uint64_t* discard) {
  HttpReply reply;
  Head head;
  if (!ReadHead(&head)) {
    Close();
    return {0, "the server closed the connection"};
  }
  reply.status = head.status;
  std::string* keep = discard == nullptr ? &reply.body : nullptr;
  uint64_t taken = 0;
  bool whole = true;
  if (head.chunked) {
    whole = TakeChunks(keep, &taken);
  } else if (head.has_length || head.status == 204 || head.status == 304) {
    whole = Take(head.length, keep);
    taken = head.length;
  } else {
    taken = TakeAll(keep);
    head.close = true;
  }
  if (!whole) {
    Close();
    return {0, "the server closed the connection inside a body"};
  }
  if (discard != nullptr) *discard = taken;
  if (head.close) Close();
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

HttpReply HttpClient::Put(std::string_view target, std::string_view type, std::string_view body) {
  HttpReply reply;
  if (!Connect(&reply.body)) return reply;
  if (!Send("PUT " + std::string(target) + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " +
            std::string(type) + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n") ||
      !Send(body)) {
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
