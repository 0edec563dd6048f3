// SPDX-License-Identifier: Apache-2.0
//
// web_socket.h: as much of RFC 6455 as it takes to read what a server sends to its end.
//
//   WebSocket stream("/var/lib/incus/unix.socket", "/1.0/operations/…/websocket?secret=…");
//   std::string out;
//   if (stream.good() && stream.ReadAll(&out)) …
#pragma once

#include <cstdint>
#include <string>

namespace csb::bench {

class WebSocket {
 public:
  // Connects over a unix socket and shakes hands.
  WebSocket(const std::string& socket_path, const std::string& target);
  ~WebSocket();
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;

  bool good() const { return fd_ >= 0; }
  // Adds binary frames to `out` until the server closes, or sends an empty text frame, which is how Incus
  // ends a stream. False when the connection broke off first.
  bool ReadAll(std::string* out);

 private:
  bool Need(size_t size);

  int fd_ = -1;
  std::string buffer_;
};

}  // namespace csb::bench
