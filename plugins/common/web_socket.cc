// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/web_socket.h"

#include <algorithm>
#include <atomic>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/version.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <condition_variable>
#include <mutex>

#include "plugins/common/http_request.h"
#include "plugins/common/printable.h"
#include "plugins/common/web_socket_stream.h"

namespace csb {
namespace {

namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using ErrorCode = boost::system::error_code;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr size_t kMaxAnswer = 128 << 10;
constexpr size_t kMaxWriteBuffer = 64 << 10;
constexpr size_t kKeptBuffer = 256 << 10;  // of a large message no more stays reserved
constexpr auto kCloseLimit = 2s;
constexpr int kTurn = 64;  // steps before others on the reactor have theirs

// One for all sockets, while there are any: each costs three descriptors.
std::shared_ptr<boost::asio::io_context> SharedContext() {
  static std::mutex mu;
  static std::weak_ptr<boost::asio::io_context> shared;
  const std::lock_guard lock(mu);
  auto context = shared.lock();
  if (!context) shared = context = std::make_shared<boost::asio::io_context>();
  return context;
}

Result<std::shared_ptr<boost::asio::io_context>> Context() {
  try {
    return SharedContext();
  } catch (const std::exception& e) {
    return Error{CSB_E_IO, std::string("can't make a websocket: ") + e.what(),
                 "raise the limit of open files (ulimit -n)", true};
  }
}

using Response = websocket::response_type;

HttpResponse Plain(Response& response) {
  return {.status = static_cast<int>(response.result_int()),
          .content_type = std::string(response[http::field::content_type]),
          .etag = std::string(response[http::field::etag]),
          .body = std::move(response.body())};
}

}  // namespace

struct WebSocket::Impl : std::enable_shared_from_this<WebSocket::Impl> {
  Reactor& reactor;
  const std::string name;  // "GET /x", what messages begin with
  const Options options;

  // The reactor's thread only, from here…
  StreamCore core;
  websocket::stream<ReactorStream, false> stream;
  boost::beast::flat_buffer buffer;
  Response response;  // of the handshake
  Handlers handlers;
  Reactor::WatchId watch = 0;
  uint32_t watched = 0;
  Reactor::TimerId close_timer = 0, silence_timer = 0;
  bool turning = false, reading = false, writing = false, closing = false;
  bool started = false;
  std::string outgoing;  // what is being written
  std::optional<Error> end;
  bool told = false;
  // … to here.
  std::atomic<bool> quiet{false};  // no handler any more
  std::atomic<bool> paused{false};
  std::atomic<bool> turn_posted{false};

  std::mutex mu;  // for all below
  std::deque<std::pair<bool, std::string>> queue;
  size_t queued = 0;
  bool refused = false;  // Send had no room
  bool no_more = false;  // closing or ended

  Impl(Reactor& r, std::string what, Options o, std::shared_ptr<boost::asio::io_context> context,
       std::unique_ptr<HttpConnection> connection)
      : reactor(r),
        name(std::move(what)),
        options(std::move(o)),
        core(std::move(context), std::move(connection), [this] { PostTurn(); }),
        stream(ReactorStream(&core)) {
    stream.read_message_max(options.max_message);
    stream.auto_fragment(false);
    stream.write_buffer_bytes(std::clamp<size_t>(options.write_buffer, 512, kMaxWriteBuffer));
  }

  Error Named(Error error) const {
    if (error.message.find(name) != 0) error.message = name + ": " + error.message;
    return error;
  }
  Error Why(const ErrorCode& code) const {
    if (core.failure()) return Named(*core.failure());
    if (code == websocket::error::closed) {
      const auto& reason = stream.reason();
      std::string words = std::to_string(reason.code);
      if (!reason.reason.empty())
        words += ": " + Printable({reason.reason.data(), reason.reason.size()}, 123);
      return {CSB_E_UNAVAILABLE, name + ": the server closed the websocket (" + words + ")", "", true};
    }
    if (code == websocket::error::message_too_big)
      return {CSB_E_TOO_LARGE,
              name + ": a message is larger than " + std::to_string(options.max_message) + " bytes", "",
              false};
    if (code == boost::asio::error::eof || code == http::error::end_of_stream ||
        code == http::error::partial_message)
      return {CSB_E_UNAVAILABLE, name + ": the connection was cut off", "", true};
    return {CSB_E_UNAVAILABLE,
            name + ": what answers does not speak the websocket protocol (" + code.message() + ")", "",
            false};
  }

  // Work for the reactor, once.
  void PostTurn() {
    if (reactor.OnThread() && turning) return;
    if (turn_posted.exchange(true)) return;
    reactor.Post([self = shared_from_this()] {
      self->turn_posted = false;
      self->Turn();
    });
  }

  void Turn() {
    turning = true;
    bool more = true;
    for (int i = 0; more && (i < kTurn || end); ++i) more = core.Step();
    turning = false;
    if (end) return Finish();
    Want();
    if (end) return Finish();
    if (more) PostTurn();
  }

  void Want() {
    const uint32_t events = core.events();
    if (events == std::exchange(watched, events)) return;
    // A descriptor that nothing is wanted of is not watched, since its hanging up would be told without end.
    if (events == 0) {
      reactor.Unwatch(std::exchange(watch, 0));
    } else if (watch != 0) {
      reactor.Change(watch, events);
    } else {
      auto made = reactor.Watch(core.fd(), events, [self = shared_from_this()](uint32_t) { self->Turn(); });
      if (made)
        watch = *made;
      else
        End(Named(made.error()));
    }
  }

  // What happens next is that all operations come back, then Finish.
  void End(Error why) {
    if (end) return;
    end = std::move(why);
    core.Abort();
    PostTurn();
  }

  void Finish() {
    if (core.Step()) return PostTurn();
    if (std::exchange(told, true)) return;
    if (watch != 0) reactor.Unwatch(std::exchange(watch, 0));
    for (Reactor::TimerId* timer : {&close_timer, &silence_timer})
      if (*timer != 0) reactor.CancelTimer(std::exchange(*timer, 0));
    core.Disconnect();
    {
      const std::lock_guard lock(mu);
      no_more = true;
      queue.clear();
    }
    const Handlers last = std::exchange(handlers, {});
    if (!quiet && last.on_end) last.on_end(*end);
  }

  void Handshake(const std::string& host, const std::string& target, const std::vector<std::string>& headers,
                 std::function<void(ErrorCode)> done) {
    core.LimitReceived(kMaxAnswer);
    stream.set_option(websocket::stream_base::decorator([headers](websocket::request_type& request) {
      request.set(http::field::user_agent, "clara-sandbox/" CSB_VERSION);
      for (const std::string& header : headers) {
        const size_t colon = header.find(':');
        const size_t value = std::min(header.find_first_not_of(' ', colon + 1), header.size());
        request.insert(header.substr(0, colon), header.substr(value));
      }
    }));
    stream.async_handshake(response, host, target, [self = shared_from_this(), done](ErrorCode code) {
      self->core.LimitReceived(std::nullopt);
      done(code);
    });
    PostTurn();
  }

  void Begin(Handlers given) {
    if (end) {
      if (!quiet && given.on_end) given.on_end(*end);
      return;
    }
    handlers = std::move(given);
    started = true;
    if (options.silence.count() > 0) Listen(Clock::now() + options.silence);
    Read();
    PostTurn();
  }

  void Listen(Clock::time_point until) {
    silence_timer = reactor.At(until, [self = shared_from_this()] {
      self->silence_timer = 0;
      if (self->end) return;
      const auto now = Clock::now();
      const auto last = self->paused ? now : self->core.last_received();
      if (now - last >= self->options.silence)
        return self->End(StreamStalled(self->name, self->options.silence));
      self->Listen(last + self->options.silence);
    });
  }

  void Read() {
    if (!started || reading || closing || end || paused || quiet) return;
    reading = true;
    stream.async_read(buffer, [self = shared_from_this()](ErrorCode code, size_t) { self->OnRead(code); });
  }

  void OnRead(ErrorCode code) {
    reading = false;
    if (code) {
      // One that our own Close has ended: the closing says how.
      if (!closing) End(Why(code));
      return;
    }
    const auto message = buffer.cdata();
    if (!quiet && !closing && handlers.on_message)
      handlers.on_message(stream.got_binary(), {static_cast<const char*>(message.data()), message.size()});
    buffer.consume(buffer.size());
    if (buffer.capacity() > kKeptBuffer) buffer.shrink_to_fit();
    Read();
  }

  void Write() {
    if (writing || closing || end) return;
    bool binary = false;
    {
      const std::lock_guard lock(mu);
      if (queue.empty()) {
        if (!no_more) return;
        closing = true;
      } else {
        binary = queue.front().first;
        outgoing = std::move(queue.front().second);
        queue.pop_front();
      }
    }
    if (closing) return StartClosing();
    writing = true;
    stream.binary(binary);
    stream.async_write(boost::asio::buffer(outgoing),
                       [self = shared_from_this()](ErrorCode code, size_t) { self->OnWritten(code); });
  }

  void OnWritten(ErrorCode code) {
    writing = false;
    // Where the other side has closed, reading finds its reason.
    if (code && !(reading && code == boost::asio::error::operation_aborted)) End(Why(code));
    if (code) return;
    bool room = false;
    {
      const std::lock_guard lock(mu);
      queued -= outgoing.size();
      room = refused && queued <= options.max_queue / 2;
      if (room) refused = false;
    }
    if (room)
      reactor.Post([self = shared_from_this()] {
        if (!self->quiet && !self->end && self->handlers.on_room) self->handlers.on_room();
      });
    Write();
  }

  void StartClosing() {
    close_timer = reactor.At(Clock::now() + kCloseLimit, [self = shared_from_this()] {
      self->close_timer = 0;
      self->End(self->ClosedHere());
    });
    stream.async_close(websocket::close_code::normal,
                       [self = shared_from_this()](ErrorCode) { self->End(self->ClosedHere()); });
  }
  Error ClosedHere() const { return {CSB_E_CANCELLED, name + ": closed", "", false}; }

  // On the reactor's thread, outside of Turn: writes without waiting for one.
  void Flush() {
    Write();
    if (!turning && writing) {
      turning = true;  // what comes of it is work for the Turn that follows
      core.StepWrite();
      turning = false;
    }
    PostTurn();
  }
};

WebSocket::WebSocket(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<WebSocketAnswer> WebSocket::Open(Reactor& reactor, const HttpEndpoint& endpoint,
                                        const std::string& target, const std::vector<std::string>& headers,
                                        milliseconds limit, Options options) {
  const auto until = Clock::now() + limit;
  const HttpRequest request{.target = target, .headers = headers};
  if (auto fine = CheckRequest(request); !fine) return fine.error();
  const std::string name = RequestName(request);
  auto context = Context();
  if (!context) return context.error();
  const std::stop_token stop = options.stop;
  auto connection = Connect(endpoint, name, limit, stop);
  if (!connection) return connection.error();

  // Shared with the handler, which may come when nobody waits any more.
  struct Opening {
    std::mutex mu;
    std::condition_variable_any changed;
    bool done = false;
    ErrorCode code;
  };
  auto opening = std::make_shared<Opening>();
  auto impl =
      std::make_shared<Impl>(reactor, name, std::move(options), *std::move(context), *std::move(connection));
  std::unique_ptr<WebSocket> socket(new WebSocket(impl));
  reactor.Post([impl, opening, target, headers, host = endpoint.url.substr(endpoint.url.find("://") + 3)] {
    impl->Handshake(host, target, headers, [opening](ErrorCode code) {
      const std::lock_guard lock(opening->mu);
      opening->done = true;
      opening->code = code;
      opening->changed.notify_all();
    });
  });
  std::unique_lock lock(opening->mu);
  opening->changed.wait_until(lock, stop, until, [&] { return opening->done; });
  if (!opening->done) {
    if (stop.stop_requested()) return Error{CSB_E_CANCELLED, name + ": cancelled", "", false};
    return NoAnswer(name, limit);
  }
  if (!opening->code) return WebSocketAnswer{Plain(impl->response), std::move(socket)};
  if (opening->code == websocket::error::upgrade_declined)
    return WebSocketAnswer{Plain(impl->response), nullptr};
  return impl->Why(opening->code);
}

WebSocket::~WebSocket() {
  impl_->quiet = true;
  impl_->reactor.Post([impl = impl_] { impl->End(impl->ClosedHere()); });
}

void WebSocket::Start(Handlers handlers) {
  impl_->reactor.Post(
      [impl = impl_, handlers = std::move(handlers)]() mutable { impl->Begin(std::move(handlers)); });
}

bool WebSocket::Send(bool binary, std::string_view message) {
  bool first = false;
  {
    const std::lock_guard lock(impl_->mu);
    if (impl_->no_more) return true;
    if (impl_->queued > 0 && impl_->queued + message.size() > impl_->options.max_queue) {
      impl_->refused = true;
      return false;
    }
    first = impl_->queue.empty();
    impl_->queued += message.size();
    impl_->queue.emplace_back(binary, std::string(message));
  }
  if (impl_->reactor.OnThread()) {
    impl_->Flush();
  } else if (first) {
    impl_->reactor.Post([impl = impl_] { impl->Flush(); });
  }
  return true;
}

void WebSocket::Pause() { impl_->paused = true; }

void WebSocket::Resume() {
  if (!impl_->paused.exchange(false)) return;
  impl_->reactor.Post([impl = impl_] {
    impl->Read();
    impl->PostTurn();
  });
}

void WebSocket::Close() {
  {
    const std::lock_guard lock(impl_->mu);
    if (impl_->no_more) return;
    impl_->no_more = true;
  }
  impl_->reactor.Post([impl = impl_] { impl->Flush(); });
}

}  // namespace csb
