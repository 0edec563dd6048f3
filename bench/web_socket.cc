// SPDX-License-Identifier: Apache-2.0
#include "bench/web_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace csb::bench {

WebSocket::WebSocket(const std::string& socket_path, const std::string& target) {
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  const std::string request =
      "GET " + target +
      " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Y2xhcmEtc2FuZGJveCBiZQ==\r\n\r\n";
  bool good = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
              send(fd_, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size());
  size_t end = std::string::npos;
  while (good && (end = buffer_.find("\r\n\r\n")) == std::string::npos) good = Need(buffer_.size() + 1);
  if (good && buffer_.starts_with("HTTP/1.1 101 ")) {
    buffer_.erase(0, end + 4);
    return;
  }
  close(fd_);
  fd_ = -1;
}

WebSocket::~WebSocket() {
  if (fd_ >= 0) close(fd_);
}

// Reads until the buffer has as many bytes.
bool WebSocket::Need(size_t size) {
  while (buffer_.size() < size) {
    char chunk[16 << 10];
    const ssize_t n = recv(fd_, chunk, sizeof chunk, 0);
    if (n <= 0) return false;
    buffer_.append(chunk, static_cast<size_t>(n));
  }
  return true;
}

bool WebSocket::ReadAll(std::string* out) {
  constexpr int kText = 1, kBinary = 2, kClose = 8;
  while (Need(2)) {
    const int kind = buffer_[0] & 0x0f;
    uint64_t size = buffer_[1] & 0x7f;
    size_t head = 2;
    if (size >= 126) {
      head = size == 126 ? 4 : 10;
      if (!Need(head)) return false;
      size = 0;
      for (size_t i = 2; i < head; ++i) size = size << 8 | static_cast<unsigned char>(buffer_[i]);
    }
    if (!Need(head + size)) return false;
    if (kind == kClose || (kind == kText && size == 0)) return true;
    if (kind == 0 || kind == kText || kind == kBinary) out->append(buffer_, head, size);
    buffer_.erase(0, head + size);
  }
  return false;
}

}  // namespace csb::bench
