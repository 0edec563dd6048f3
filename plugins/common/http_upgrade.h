// SPDX-License-Identifier: Apache-2.0
//
// http_upgrade.h: a request whose answer turns its connection into a byte stream (RFC 9110, 7.8), over all
// that http_client.h speaks to: a Unix socket, TCP, TLS.
//
//   auto answer = Upgrade(endpoint, "tcp", {.method = "POST", .target = "/v1.41/exec/1f…/start"});
//   if (!answer) return answer.error();                                      // as HttpClient's errors
//   if (!answer->connection) return EngineError("…", answer->response);      // the server would not
//   auto got = answer->connection->Recv(buffer, sizeof buffer);
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"
#include "plugins/common/http_handle.h"

namespace csb {

// Not blocking. One thread at a time; not always the same.
class HttpConnection {
 public:
  explicit HttpConnection(HttpEndpoint endpoint) : endpoint_(std::move(endpoint)) {}
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // Bytes taken; 0: none now, wait until fd() is writable and call again with the same bytes.
  Result<size_t> Send(std::string_view bytes);
  // Bytes read, 0 at the end; nothing: none now, wait until fd() is readable. Before that a wait may be in
  // vain, since what TLS has decrypted already makes nothing readable.
  Result<std::optional<size_t>> Recv(char* buffer, size_t size);
  int fd() const { return fd_; }

 private:
  friend class Upgrading;
  const HttpEndpoint endpoint_;  // the handle's
  std::unique_ptr<HttpHandle> handle_;
  int fd_ = -1;        // the handle's
  std::string early_;  // came together with the answer's head
};

struct UpgradeAnswer {
  HttpResponse response;
  std::unique_ptr<HttpConnection> connection;  // of an answer 101
};

// Blocks, at most for request.timeout. Headers `Host`, `Connection` and `Upgrade` are added; on_data is
// unused. A refusal's body is kept up to request.max_body bytes.
Result<UpgradeAnswer> Upgrade(const HttpEndpoint& endpoint, std::string_view protocol,
                              const HttpRequest& request);

// A connection on which nothing was said yet. Blocks, at most for the timeout (0: none); a stop ends it with
// CSB_E_CANCELLED within a second. name: what messages begin with, "GET /1.0/events".
Result<std::unique_ptr<HttpConnection>> Connect(const HttpEndpoint& endpoint, const std::string& name,
                                                std::chrono::milliseconds timeout, std::stop_token stop = {});

}  // namespace csb
