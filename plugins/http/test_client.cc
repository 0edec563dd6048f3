// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/test_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

namespace csb::http {

TestClient::TestClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval limit{10, 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  const int small = 64 << 10;  // so that a slow reader is noticed early
  setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("cannot connect");
}

TestClient::~TestClient() { Close(); }

void TestClient::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void TestClient::Reset() {
  const linger hard{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  Close();
}

void TestClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;  // the server has closed: seen by the next read
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

bool TestClient::Fill() {
  char buffer[65536];
  const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
  if (n <= 0) return false;
  buffer_.append(buffer, static_cast<size_t>(n));
  return true;
}

std::string TestClient::ReadSome() {
  if (buffer_.empty()) Fill();
  return std::exchange(buffer_, {});
}

std::string TestClient::ReadUntil(std::string_view part) {
  size_t at;
  while ((at = buffer_.find(part)) == std::string::npos)
    if (!Fill()) return {};
  std::string out = buffer_.substr(0, at + part.size());
  buffer_.erase(0, out.size());
  return out;
}

bool TestClient::Ended() {
  while (true) {
    char byte;
    const ssize_t n = recv(fd_, &byte, 1, 0);
    if (n == 0) return true;
    if (n < 0) return errno == ECONNRESET;
  }
}

TestAnswer TestClient::Read(bool head) {
  TestAnswer answer;
  std::string text = ReadUntil("\r\n\r\n");
  if (text.size() < 12) return answer;
  answer.status = std::stoi(text.substr(9, 3));
  for (size_t line = text.find("\r\n") + 2; line + 2 < text.size();) {
    const size_t end = text.find("\r\n", line), colon = text.find(':', line);
    std::string name = text.substr(line, colon - line);
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    answer.fields[name] = text.substr(colon + 2, end - colon - 2);
    line = end + 2;
  }
  answer.complete = true;
  if (head || answer.status == 204 || answer.status == 304 || answer.status == 100) return answer;
  if (answer.fields.count("content-length") != 0) {
    const size_t size = std::stoul(answer.fields["content-length"]);
    while (buffer_.size() < size && answer.complete) answer.complete = Fill();
    answer.body = buffer_.substr(0, size);
    buffer_.erase(0, answer.body.size());
  } else if (answer.fields.count("transfer-encoding") != 0) {
    while (true) {
      const std::string line = ReadUntil("\r\n");
      answer.complete = !line.empty();
      const size_t size = line.empty() ? 0 : std::stoul(line, nullptr, 16);
      while (buffer_.size() < size + 2 && answer.complete) answer.complete = Fill();
      if (!answer.complete) break;
      answer.body += buffer_.substr(0, size);
      buffer_.erase(0, size + 2);
      if (size == 0) break;
    }
  } else {
    while (Fill()) {
    }
    answer.body = std::exchange(buffer_, {});
  }
  return answer;
}

TestAnswer TestClient::Call(const std::string& method, const std::string& target, const std::string& fields,
                            const std::string& body) {
  std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields;
  if (!body.empty() || method == "POST") text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  Send(text + "\r\n" + body);
  return Read(method == "HEAD");
}

TestAnswer TestClient::Get(const std::string& target, const std::string& fields) {
  return Call("GET", target, fields);
}

TestAnswer TestClient::Post(const std::string& target, const std::string& body, const std::string& fields) {
  return Call("POST", target, fields, body);
}

}  // namespace csb::http
