// SPDX-License-Identifier: Apache-2.0
//
// http_handle.h: one libcurl handle for a server: its options, its way of connecting, its errors. For
// http_client.h, and for what upgrades a connection and then speaks something else on it.
//
//   auto handle = HttpHandle::Create(endpoint);
//   curl_easy_setopt((*handle)->curl(), CURLOPT_…);
//   if (CURLcode code = curl_easy_perform((*handle)->curl())) return (*handle)->Failure("GET /x", code);
//
// Threads: one at a time.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"

namespace csb {

class HttpHandle {
 public:
  // endpoint must outlive it. Nothing is sent yet.
  static Result<std::unique_ptr<HttpHandle>> Create(const HttpEndpoint& endpoint);
  ~HttpHandle();
  HttpHandle(const HttpHandle&) = delete;
  HttpHandle& operator=(const HttpHandle&) = delete;

  CURL* curl() const { return curl_; }

  // The failure is that of a server whose queue of connections is full, which a Unix socket says instead of
  // having the caller wait. Nothing was sent; try again a little later.
  bool Busy(CURLcode code) const;
  // What a transfer failed with; what: "GET /x".
  Error Failure(std::string_view what, CURLcode code) const;

 private:
  explicit HttpHandle(const HttpEndpoint& endpoint) : endpoint_(endpoint) {}
  Status Configure();
  static curl_socket_t Open(void* self, curlsocktype purpose, curl_sockaddr* address);

  const HttpEndpoint& endpoint_;
  CURL* curl_ = nullptr;
  int socket_errno_ = 0;  // of the last socket()
  char message_[CURL_ERROR_SIZE] = {};
};

// Of an endpoint: what can be seen to be wrong before anything is sent (CSB_E_INVALID).
Status CheckEndpoint(const HttpEndpoint& endpoint);

}  // namespace csb
