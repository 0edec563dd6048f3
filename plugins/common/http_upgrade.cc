// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/http_upgrade.h"

#include <poll.h>

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <thread>

#include "plugins/common/http_request.h"

namespace csb {
namespace {

namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr uint32_t kMaxHead = 64 << 10;

}  // namespace

Result<size_t> HttpConnection::Send(std::string_view bytes) {
  size_t sent = 0;
  const CURLcode code = curl_easy_send(handle_->curl(), bytes.data(), bytes.size(), &sent);
  if (code == CURLE_OK || code == CURLE_AGAIN) return code == CURLE_OK ? sent : 0;
  return handle_->Failure("send", code);
}

Result<std::optional<size_t>> HttpConnection::Recv(char* buffer, size_t size) {
  if (!early_.empty()) {
    const size_t n = early_.copy(buffer, size);
    early_.erase(0, n);
    return std::optional(n);
  }
  size_t received = 0;
  const CURLcode code = curl_easy_recv(handle_->curl(), buffer, size, &received);
  if (code == CURLE_AGAIN) return std::optional<size_t>();
  if (code == CURLE_OK) return std::optional(received);
  return handle_->Failure("receive", code);
}

// The way from nothing to a stream; its state while it blocks.
class Upgrading {
 public:
  Upgrading(const HttpEndpoint& endpoint, std::string name, std::chrono::milliseconds timeout,
            std::stop_token stop = {})
      : connection_(std::make_unique<HttpConnection>(endpoint)),
        name_(std::move(name)),
        timeout_(timeout),
        stop_(std::move(stop)),
        until_(timeout.count() > 0 ? Clock::now() + timeout : Clock::time_point::max()) {}

  Status Connect() {
    for (;;) {
      auto handle = HttpHandle::Create(connection_->endpoint_);
      if (!handle) return handle.error();
      connection_->handle_ = *std::move(handle);
      CURL* curl = connection_->handle_->curl();
      curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
      if (stop_.stop_possible()) {
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Upgrading::Progress);
      }
      if (until_ != Clock::time_point::max()) {
        const long left = Left();
        if (left <= 0) return TooSlow();
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, left);
      }
      const CURLcode code = curl_easy_perform(curl);
      if (stop_.stop_requested()) return Error{CSB_E_CANCELLED, name_ + ": cancelled", "", false};
      if (code == CURLE_OK) {
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 1L);
        curl_socket_t fd = CURL_SOCKET_BAD;
        curl_easy_getinfo(curl, CURLINFO_ACTIVESOCKET, &fd);
        connection_->fd_ = fd;
        return {};
      }
      if (code == CURLE_OPERATION_TIMEDOUT && Left() <= 0) return TooSlow();
      if (!connection_->handle_->Busy(code)) return connection_->handle_->Failure(name_, code);
      std::this_thread::sleep_for(10ms);  // nothing tells when the queue has a place again
    }
  }

  Status Send(std::string_view bytes) {
    while (!bytes.empty()) {
      auto sent = connection_->Send(bytes);
      if (!sent) return Named(sent.error());
      bytes.remove_prefix(*sent);
      if (*sent > 0) continue;
      if (auto ready = Wait(POLLOUT); !ready) return ready;
    }
    return {};
  }

  std::unique_ptr<HttpConnection> Take() { return std::move(connection_); }

  Result<UpgradeAnswer> Receive(size_t max_body) {
    http::response_parser<http::string_body> parser;
    parser.header_limit(kMaxHead);
    parser.body_limit(max_body);
    parser.eager(false);  // what follows the head of an answer 101 is no body
    std::string unread;
    char piece[16 << 10];
    boost::beast::error_code error;
    for (bool end = false;;) {
      while (!unread.empty() && !error && !parser.is_done()) {
        const size_t taken = parser.put(boost::asio::buffer(unread), error);
        unread.erase(0, taken);
        if (error == http::error::need_more) {
          error = {};
          break;
        }
        if (error || !parser.is_header_done()) break;
        if (parser.get().result_int() == 101) {
          connection_->early_ = std::move(unread);
          return UpgradeAnswer{Response(parser), std::move(connection_)};
        }
        parser.eager(true);
        if (taken == 0) break;
      }
      if (end && !parser.got_some())
        return Error{CSB_E_UNAVAILABLE, name_ + ": the connection was closed without an answer", "", true};
      if (!error && end) parser.put_eof(error);
      if (error == http::error::header_limit || error == http::error::body_limit)
        return Error{CSB_E_TOO_LARGE, name_ + ": the answer is too large", "", false};
      if (error && end) return Error{CSB_E_UNAVAILABLE, name_ + ": the answer was cut off", "", true};
      if (error)
        return Error{CSB_E_UNAVAILABLE,
                     name_ + ": what answers does not speak HTTP (" + error.message() + ")", "", false};
      if (parser.is_done()) return UpgradeAnswer{Response(parser), nullptr};
      auto got = connection_->Recv(piece, sizeof piece);
      if (!got) return Named(got.error());
      if (!*got) {
        if (auto ready = Wait(POLLIN); !ready) return ready.error();
      } else {
        end = **got == 0;
        unread.append(piece, **got);
      }
    }
  }

 private:
  static HttpResponse Response(http::response_parser<http::string_body>& parser) {
    auto& message = parser.get();
    return {.status = static_cast<int>(message.result_int()),
            .content_type = std::string(message[http::field::content_type]),
            .etag = std::string(message[http::field::etag]),
            .body = std::move(message.body())};
  }
  // Comes once a second at least.
  static int Progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Upgrading*>(self)->stop_.stop_requested() ? 1 : 0;
  }
  long Left() const { return std::chrono::ceil<std::chrono::milliseconds>(until_ - Clock::now()).count(); }
  Error TooSlow() const { return NoAnswer(name_, timeout_); }
  Error Named(Error error) const {
    error.message = name_ + ": " + error.message;
    return error;
  }
  Status Wait(short events) {
    const bool bounded = until_ != Clock::time_point::max();
    const long left = bounded ? Left() : -1;
    if (bounded && left <= 0) return TooSlow();
    pollfd wait{connection_->fd_, events, 0};
    ::poll(&wait, 1, static_cast<int>(std::min<long>(left, 1 << 30)));
    return {};
  }

  std::unique_ptr<HttpConnection> connection_;
  const std::string name_;
  const std::chrono::milliseconds timeout_;
  const std::stop_token stop_;
  const Clock::time_point until_;
};

Result<UpgradeAnswer> Upgrade(const HttpEndpoint& endpoint, std::string_view protocol,
                              const HttpRequest& request) {
  if (auto fine = CheckEndpoint(endpoint); !fine) return fine.error();
  if (auto fine = CheckRequest(request); !fine) return fine.error();
  std::string head = request.method + " " + request.target +
                     " HTTP/1.1\r\nHost: " + endpoint.url.substr(endpoint.url.find("://") + 3) +
                     "\r\nConnection: Upgrade\r\nUpgrade: ";
  head.append(protocol).append("\r\n");
  for (const std::string& header : request.headers) head.append(header).append("\r\n");
  head += "Content-Length: " + std::to_string(request.body.size()) + "\r\n\r\n";
  Upgrading upgrading(endpoint, RequestName(request), request.timeout);
  if (auto connected = upgrading.Connect(); !connected) return connected.error();
  if (auto sent = upgrading.Send(head + request.body); !sent) return sent.error();
  return upgrading.Receive(request.max_body);
}

Result<std::unique_ptr<HttpConnection>> Connect(const HttpEndpoint& endpoint, const std::string& name,
                                                std::chrono::milliseconds timeout, std::stop_token stop) {
  if (auto fine = CheckEndpoint(endpoint); !fine) return fine.error();
  Upgrading upgrading(endpoint, name, timeout, std::move(stop));
  if (auto connected = upgrading.Connect(); !connected) return connected.error();
  return upgrading.Take();
}

}  // namespace csb
