// SPDX-License-Identifier: Apache-2.0
//
// http_transfer.h: one request of http_client.cc as libcurl's transfer: options, what comes back, its bounds.
// Lives on the reactor's thread.
#pragma once

#include <curl/curl.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/common/http_client.h"
#include "plugins/common/http_handle.h"
#include "plugins/common/http_request.h"

namespace csb {

struct HttpTransfer {
  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  using Clock = Reactor::Clock;

  HttpClient::CallId id = 0;
  HttpRequest request;
  HttpClient::Done done;
  std::function<void()> refused;  // the head of an error came, maybe before all of `source` was taken
  Clock::time_point started = Clock::now(), progress = started;
  HttpResponse response;
  size_t header_bytes = 0;
  bool head_complete = false;
  bool told_head = false;  // to on_head
  bool held = false, starved = false;
  int sent = 0;                  // times that the request was begun
  std::optional<Error> failure;  // why a callback ended it
  Reactor::TimerId deadline = 0, again = 0;
  std::unique_ptr<curl_slist, FreeList> headers;
  std::unique_ptr<HttpHandle> handle;  // CURLOPT_PRIVATE is this; endpoint must outlive it

  // Makes the handle; nothing is sent yet.
  Status Prepare(const HttpEndpoint& endpoint);
  // What libcurl ended it with.
  Result<HttpResponse> Outcome(CURLcode code);
  // Its time is that between two pieces, of the answer or of the request's body.
  bool streams() const { return request.on_data || request.source; }
  bool waits() const { return held || starved; }
  // Goes on, where `hold` or `source` had it wait.
  void Resume();
  std::string Name() const { return RequestName(request); }
  Error Cancelled() const { return {CSB_E_CANCELLED, Name() + ": cancelled", "", false}; }

 private:
  // What libcurl is told: all was taken, or nothing, which ends the transfer.
  size_t Head(std::string_view line);
  size_t Body(std::string_view piece);
  size_t Read(char* to, size_t room);
  bool TellHead();
  void FillHead();
  size_t Stop(Error why);
  Error HeadTooLarge() const;
};

}  // namespace csb
