// SPDX-License-Identifier: Apache-2.0
//
// web_socket.h: a client's websocket (RFC 6455) over all that http_client.h speaks to: a Unix socket, TCP,
// TLS. Beast's frames and handshake, on a reactor's thread.
//
//   auto answer = WebSocket::Open(reactor, endpoint, "/1.0/events", {}, 5s);
//   if (!answer) return answer.error();                                  // as HttpClient's errors
//   if (!answer->socket) return EngineError("…", answer->response);      // the server would not
//   answer->socket->Start({.on_message = [](bool binary, std::string_view message) { … },
//                          .on_end = [](const Error& why) { … }});
//   if (!answer->socket->Send(true, "bytes")) …                          // full: on_room comes
//
// Trust: a message is bounded (Options), so is the handshake's answer (128 KiB); no compression; pings are
// answered. Nothing is read before Start or between Pause and Resume, pings neither.
// Threads: Open is for a worker's, all else for any. Handlers come on the reactor's thread, one at a time,
// never from inside a call of these functions; they may call them, and destroy the socket.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"
#include "plugins/common/reactor.h"

namespace csb {

struct WebSocketAnswer;

struct WebSocketOptions {
  size_t max_message = 1 << 20;   // of the other side; more ends the socket
  size_t max_queue = 256 << 10;   // bytes that Send takes before any of them is written
  size_t write_buffer = 4 << 10;  // what is masked and written at once, at most 64 KiB
  // Nothing at all came for this long, no ping either: the end. 0: never.
  std::chrono::milliseconds silence{0};
  std::stop_token stop;  // ends Open with CSB_E_CANCELLED, within a second
};

class WebSocket {
 public:
  using Options = WebSocketOptions;
  struct Handlers {
    std::function<void(bool binary, std::string_view message)> on_message;
    // Once, the last: how it was closed or broke, CSB_E_UNAVAILABLE; CSB_E_TOO_LARGE of a message;
    // CSB_E_CANCELLED after Close.
    std::function<void(const Error& why)> on_end;
    std::function<void()> on_room;  // Send had no room, and half of it is free again
  };

  // Blocks until the handshake is done, at most `limit`. headers: "Name: value". The reactor must outlive it.
  static Result<WebSocketAnswer> Open(Reactor& reactor, const HttpEndpoint& endpoint,
                                      const std::string& target, const std::vector<std::string>& headers,
                                      std::chrono::milliseconds limit, Options options = {});
  // Breaks off. No handler starts after this on the reactor's thread; one may be under way there.
  ~WebSocket();
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;

  // Once: reading begins.
  void Start(Handlers handlers);
  // One message. False: not taken, since max_queue is full; on_room comes. After the end it is taken and
  // dropped.
  bool Send(bool binary, std::string_view message);
  // A message that was under way may still come.
  void Pause();
  void Resume();
  // After all that was sent: the closing handshake, for at most 2 s, then on_end. Sends later are dropped.
  void Close();

 private:
  struct Impl;
  explicit WebSocket(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

struct WebSocketAnswer {
  HttpResponse response;              // of a refusal, its body too
  std::unique_ptr<WebSocket> socket;  // of an answer 101
};

}  // namespace csb
