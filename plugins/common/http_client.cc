// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/http_client.h"

#include <curl/curl.h>
#include <sys/epoll.h>

#include <atomic>
#include <future>
#include <optional>
#include <unordered_map>
#include <utility>

#include "plugins/common/http_handle.h"
#include "plugins/common/http_request.h"
#include "plugins/common/http_transfer.h"

namespace csb {
namespace {

using Clock = Reactor::Clock;
using namespace std::chrono_literals;

constexpr long kIdleConnections = 16;
constexpr auto kBusyPause = 10ms;    // before a server whose queue is full is asked again
constexpr auto kBusyPatience = 10s;  // as long as libcurl waits for a TCP server

}  // namespace

// Lives on the reactor's thread, but for what is said to be otherwise. libcurl calls Socket and Timer from
// inside our calls; they only take notes.
struct HttpClient::Impl : std::enable_shared_from_this<HttpClient::Impl> {
  Reactor& reactor;             // any thread
  const HttpEndpoint endpoint;  // any thread
  std::atomic<CallId> next{1};  // any thread
  std::atomic<size_t> open{0};  // calls whose `done` is not through; any thread

  CURLM* multi = nullptr;
  std::unordered_map<CallId, std::shared_ptr<HttpTransfer>> calls;
  std::unordered_map<curl_socket_t, Reactor::WatchId> watches;
  Reactor::TimerId timer = 0;
  bool due = false;     // libcurl wants to be called without delay
  bool posted = false;  // and will be
  bool closed = false;

  Impl(Reactor& r, HttpEndpoint e) : reactor(r), endpoint(std::move(e)) {}
  ~Impl() {
    if (multi != nullptr) curl_multi_cleanup(multi);
  }

  static int Socket(CURL* easy, curl_socket_t fd, int what, void* self, void*) {
    static_cast<Impl*>(self)->OnSocket(easy, fd, what);
    return 0;
  }
  static int Timer(CURLM*, long ms, void* self) {
    static_cast<Impl*>(self)->OnTimer(ms);
    return 0;
  }

  void OnSocket(CURL* easy, curl_socket_t fd, int what) {
    auto known = watches.find(fd);
    if (what == CURL_POLL_REMOVE || closed) {
      if (known == watches.end()) return;
      reactor.Unwatch(known->second);
      watches.erase(known);
      return;
    }
    const uint32_t events =
        ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0u) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0u);
    if (known != watches.end()) return reactor.Change(known->second, events);
    auto watch = reactor.Watch(fd, events, [this, fd](uint32_t happened) {
      const int bits = ((happened & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                       ((happened & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                       ((happened & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
      Act(fd, bits);
    });
    if (watch) {
      watches.emplace(fd, *watch);
      return;
    }
    // An error returned to libcurl would be the end of all its transfers.
    char* call = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
    reactor.Post([self = shared_from_this(), id = reinterpret_cast<HttpTransfer*>(call)->id,
                  why = watch.error()] { self->FinishById(id, why); });
  }

  void OnTimer(long ms) {
    if (timer != 0) reactor.CancelTimer(std::exchange(timer, 0));
    due = ms == 0;
    if (ms > 0)
      timer = reactor.At(Clock::now() + std::chrono::milliseconds(ms), [this] {
        timer = 0;
        Act(CURL_SOCKET_TIMEOUT, 0);
      });
  }

  // Lets libcurl go on, then ends what it is through with.
  void Act(curl_socket_t fd, int bits) {
    if (closed) return;
    if (fd == CURL_SOCKET_TIMEOUT) due = false;
    int running = 0;
    curl_multi_socket_action(multi, fd, bits, &running);
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      char* call = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
      const CURLcode code = message->data.result;
      Ended(calls.at(reinterpret_cast<HttpTransfer*>(call)->id), code);
    }
    // Others on this reactor get their turn between two pieces of a fast transfer.
    if (!due || std::exchange(posted, true)) return;
    reactor.Post([self = shared_from_this()] {
      self->posted = false;
      if (self->due) self->Act(CURL_SOCKET_TIMEOUT, 0);
    });
  }

  void Begin(std::shared_ptr<HttpTransfer> call) {
    calls.emplace(call->id, call);
    if (closed) return Finish(call, call->Cancelled());
    if (auto ready = call->Prepare(endpoint); !ready) return Finish(call, ready.error());
    if (call->request.timeout.count() > 0) SetDeadline(call);
    // libcurl sends no more of such a request, but does not end it while its sending is paused.
    if (call->request.source)
      call->refused = [this, id = call->id] {
        reactor.Post([self = shared_from_this(), id] { self->ResumeById(id); });
      };
    Transfer(call);
  }

  void Transfer(const std::shared_ptr<HttpTransfer>& call) {
    if (const CURLMcode code = curl_multi_add_handle(multi, call->handle->curl()); code != CURLM_OK)
      return Finish(
          call, Error{CSB_E_INTERNAL, call->Name() + ": libcurl: " + curl_multi_strerror(code), "", false});
    Act(CURL_SOCKET_TIMEOUT, 0);
  }

  // One timer a call, moved when it fires too early: pieces of a stream come often.
  void SetDeadline(const std::shared_ptr<HttpTransfer>& call) {
    const auto from = call->streams() ? call->progress : call->started;
    call->deadline = reactor.At(from + call->request.timeout, [this, call] {
      call->deadline = 0;
      // Held back by us, the server can't make progress.
      if (call->streams() && call->waits()) call->progress = Clock::now();
      if (call->streams() && call->progress + call->request.timeout > Clock::now()) return SetDeadline(call);
      Finish(call, call->streams() ? StreamStalled(call->Name(), call->request.timeout)
                                   : NoAnswer(call->Name(), call->request.timeout));
    });
  }

  void Ended(std::shared_ptr<HttpTransfer> call, CURLcode code) {
    if (!call->failure && call->handle->Busy(code) && Clock::now() < call->started + kBusyPatience) {
      curl_multi_remove_handle(multi, call->handle->curl());
      call->again = reactor.At(Clock::now() + kBusyPause, [this, call] {
        call->again = 0;
        Transfer(call);
      });
      return;
    }
    auto outcome = call->Outcome(code);
    Finish(call, std::move(outcome));
  }

  void Finish(std::shared_ptr<HttpTransfer> call, Result<HttpResponse> result) {
    if (call->deadline != 0) reactor.CancelTimer(call->deadline);
    if (call->again != 0) reactor.CancelTimer(call->again);
    if (call->handle) curl_multi_remove_handle(multi, call->handle->curl());
    call->handle.reset();
    call->request.on_data = nullptr;
    call->request.hold = nullptr;
    call->request.on_head = nullptr;
    call->request.source = nullptr;
    call->request.on_begin = nullptr;
    calls.erase(call->id);
    std::exchange(call->done, nullptr)(std::move(result));
    --open;
  }

  void FinishById(CallId id, std::optional<Error> why) {
    auto found = calls.find(id);
    if (found == calls.end()) return;
    auto call = found->second;
    Finish(call, why ? *std::move(why) : call->Cancelled());
  }

  void ResumeById(CallId id) {
    auto found = calls.find(id);
    if (found == calls.end() || !found->second->handle) return;
    found->second->Resume();  // may call on_data from inside; what that ends shows in Act
    Act(CURL_SOCKET_TIMEOUT, 0);
  }

  void Close(std::shared_ptr<std::promise<void>> through) {
    closed = true;
    while (!calls.empty()) FinishById(calls.begin()->first, std::nullopt);
    // What those callbacks started, or was posted before, ends at its turn.
    if (open != 0) return reactor.Post([self = shared_from_this(), through] { self->Close(through); });
    if (timer != 0) reactor.CancelTimer(std::exchange(timer, 0));
    for (const auto& [fd, watch] : watches) reactor.Unwatch(watch);
    watches.clear();
    curl_multi_cleanup(std::exchange(multi, nullptr));
    through->set_value();
  }
};

HttpClient::HttpClient(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<HttpClient>> HttpClient::Create(Reactor& reactor, HttpEndpoint endpoint) {
  if (auto fine = CheckEndpoint(endpoint); !fine) return fine.error();
  auto impl = std::make_shared<Impl>(reactor, std::move(endpoint));
  // A handle first: it initialises libcurl.
  if (auto handle = HttpHandle::Create(impl->endpoint); !handle) return handle.error();
  impl->multi = curl_multi_init();
  if (impl->multi == nullptr) return Error{CSB_E_NO_CAPACITY, "libcurl: out of memory", "", true};
  bool set = curl_multi_setopt(impl->multi, CURLMOPT_SOCKETFUNCTION, &Impl::Socket) == CURLM_OK;
  set &= curl_multi_setopt(impl->multi, CURLMOPT_SOCKETDATA, impl.get()) == CURLM_OK;
  set &= curl_multi_setopt(impl->multi, CURLMOPT_TIMERFUNCTION, &Impl::Timer) == CURLM_OK;
  set &= curl_multi_setopt(impl->multi, CURLMOPT_TIMERDATA, impl.get()) == CURLM_OK;
  set &= curl_multi_setopt(impl->multi, CURLMOPT_MAXCONNECTS, kIdleConnections) == CURLM_OK;
  if (!set) return Error{CSB_E_INTERNAL, "libcurl refuses an option", "", false};
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(impl)));
}

HttpClient::~HttpClient() {
  auto through = std::make_shared<std::promise<void>>();
  auto wait = through->get_future();
  impl_->reactor.Post([impl = impl_, through] { impl->Close(through); });
  wait.wait();
}

Result<HttpResponse> HttpClient::Call(HttpRequest request) {
  if (impl_->reactor.OnThread())
    return Error{CSB_E_INTERNAL, "HttpClient::Call on the reactor's thread would wait for itself", "", false};
  auto answer = std::make_shared<std::promise<Result<HttpResponse>>>();
  auto wait = answer->get_future();
  Start(std::move(request), [answer](Result<HttpResponse> result) { answer->set_value(std::move(result)); });
  return wait.get();
}

HttpClient::CallId HttpClient::Start(HttpRequest request, Done done) {
  auto call = std::make_shared<HttpTransfer>();
  call->id = impl_->next++;
  call->request = std::move(request);
  call->done = std::move(done);
  ++impl_->open;
  const CallId id = call->id;
  impl_->reactor.Post([impl = impl_, call = std::move(call)] { impl->Begin(call); });
  return id;
}

void HttpClient::Cancel(CallId id) {
  impl_->reactor.Post([impl = impl_, id] { impl->FinishById(id, std::nullopt); });
}

void HttpClient::Resume(CallId id) {
  impl_->reactor.Post([impl = impl_, id] { impl->ResumeById(id); });
}

const HttpEndpoint& HttpClient::endpoint() const { return impl_->endpoint; }

std::string UrlEscape(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
        c == '_' || c == '~') {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

}  // namespace csb
