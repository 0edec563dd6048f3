// SPDX-License-Identifier: Apache-2.0
//
// http_client.h: HTTP to one server, over a Unix socket, TCP or TLS with client certificates: libcurl's multi
// interface on a reactor. Connections are kept and used again. HTTP/1.1, or 2 where that is asked for and
// offered.
//
//   auto client = HttpClient::Create(reactor, {.url = "http://docker", .unix_socket = "/run/docker.sock"});
//   auto answer = (*client)->Call({.method = "GET", .target = "/v1.41/info", .timeout = 5s});
//   if (!answer) return answer.error();         // not reached, cut off, too slow, too large
//   if (answer->status != 200) …                // the server's own word is no error here
//
// Trust: what a server sends is bounded (max_body, headers 64 KiB) and never followed elsewhere
// (no redirects, no cookies, no .netrc; a proxy only where the endpoint takes the environment's).
// Errors: CSB_E_UNAVAILABLE not reached or cut off (retryable, but for EACCES, TLS and what is no HTTP),
// CSB_E_DEADLINE too slow, CSB_E_TOO_LARGE, CSB_E_CANCELLED, CSB_E_INVALID a request that can't be sent.
// Messages: "GET /v1.41/info: " and the transport's own words: "connect /run/docker.sock: " with errno's
// text, "TLS: " and libcurl's. A request on a kept connection that the server closes without a word is sent
// once more on a new one, whatever its method, unless `once` is set.
// Threads: every function from any thread; Call must not be called on the reactor's. Callbacks come on the
// reactor's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/reactor.h"

namespace csb {

struct HttpEndpoint {
  std::string url;          // scheme and authority: "http://docker", "https://10.0.0.5:2376"; no path
  std::string unix_socket;  // absolute path; empty: TCP
  // PEM files, for https only. ca empty: the system's.
  std::string ca, certificate, key;
  bool verify = true;     // the server's certificate and name
  bool any_name = false;  // `ca` is the server's very certificate: what name stands in it does not matter
  bool tls13 = false;     // TLS 1.3 at least, else 1.2
  // The server's public key, as "sha256//BASE64" (several, separated by ;), whoever signed its certificate.
  std::string pinned_key = {};
  bool proxy_from_environment = false;  // http_proxy, https_proxy, no_proxy
  bool http2 = false;                   // over TLS, where the server offers it (ALPN)
  std::chrono::milliseconds connect_timeout{10'000};
};

struct HttpResponse {
  int status = 0;
  std::string content_type;
  std::string etag;  // as it was sent, with its quotes; for If-Match
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};  // those that the request names in `keep`

  // "" when it was not sent, or not kept. `name` as it stands in `keep`.
  std::string_view Header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return value;
    return {};
  }
};

struct HttpRequest {
  std::string method = "GET";
  std::string target;                         // path and query, escaped: "/v1.41/containers/json?all=1"
  std::vector<std::string> headers;           // "Name: value"
  std::string body;                           // sent with Content-Length; empty: none
  std::chrono::milliseconds timeout{10'000};  // of the whole; with on_data: between two pieces; 0: none
  size_t max_body = 16 << 20;
  // Takes the body piece by piece instead of HttpResponse::body, for answers of status 2xx; false ends the
  // request with CSB_E_CANCELLED. max_body then bounds only other answers.
  std::function<bool(std::string_view)> on_data = {};
  // Asked before each piece: true holds the server back until Resume, and the clock of `timeout` with it.
  std::function<bool()> hold = {};
  // The head of an answer of status 2xx, before its data; body is empty. false: as of on_data.
  std::function<bool(const HttpResponse&)> on_head = {};
  // Writes up to `room` bytes of the request's body to `to`, instead of `body`; 0 ends it, kLater waits for
  // Resume, kBroken ends the request with CSB_E_CANCELLED. Sent in chunks, on a connection of its own: it
  // can't be sent twice.
  static constexpr size_t kLater = SIZE_MAX, kBroken = SIZE_MAX - 1;
  std::function<size_t(char* to, size_t room)> source = {};
  std::vector<std::string> keep = {};   // names of headers of the answer that are wanted
  std::function<void()> on_begin = {};  // there is a connection, and the request is about to be sent on it
  bool once = false;                    // fails with CSB_E_UNAVAILABLE instead of being sent again by itself
};

class HttpClient {
 public:
  using Done = std::function<void(Result<HttpResponse>)>;
  using CallId = uint64_t;  // never reused; 0 is none

  // The reactor must outlive it. Nothing is sent yet.
  static Result<std::unique_ptr<HttpClient>> Create(Reactor& reactor, HttpEndpoint endpoint);
  // Ends every call with CSB_E_CANCELLED; returns when all callbacks are through. Not on the reactor's
  // thread.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Blocks until the answer, at most the timeout.
  Result<HttpResponse> Call(HttpRequest request);
  // `done` exactly once, never from inside this call.
  CallId Start(HttpRequest request, Done done);
  // `done` still comes, with CSB_E_CANCELLED unless it was under way. Harmless afterwards.
  void Cancel(CallId id);
  // Goes on with what `hold` or `source` made wait. Harmless otherwise.
  void Resume(CallId id);

  const HttpEndpoint& endpoint() const;

 private:
  struct Impl;
  explicit HttpClient(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

// Percent-escapes all but unreserved characters (RFC 3986), for a path segment or a query value.
std::string UrlEscape(std::string_view text);

}  // namespace csb
