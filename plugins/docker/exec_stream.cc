// SPDX-License-Identifier: Apache-2.0
#include "plugins/docker/exec_stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/http_upgrade.h"
#include "plugins/common/printable.h"
#include "plugins/docker/engine_error.h"
#include "plugins/docker/exec_frames.h"

namespace csb::docker {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kPiece = 64 << 10;
constexpr size_t kMaxComplaints = 4 << 10;
constexpr int kTurn = 16;  // pieces each way before others on the reactor have theirs

std::string ExecBody(const std::vector<std::string>& argv) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  for (const char* on : {"AttachStdin", "AttachStdout", "AttachStderr"}) {
    json::Key(w, on);
    w.Bool(true);
  }
  json::Key(w, "Tty");
  w.Bool(false);
  json::Key(w, "User");
  json::String(w, "0");
  json::Key(w, "Cmd");
  w.StartArray();
  for (const std::string& arg : argv) json::String(w, arg);
  w.EndArray();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

bool IsHex(std::string_view id) {
  return !id.empty() && id.size() <= 128 &&
         id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

// The pump between the engine's connection and the socket whose other end is the caller's. All of it but what
// is said to be otherwise lives on the reactor's thread.
struct ExecStream::Impl : std::enable_shared_from_this<ExecStream::Impl> {
  Reactor& reactor;
  std::unique_ptr<HttpConnection> engine;
  UniqueFd inner;  // our end of the pair
  UniqueFd outer;  // the caller's, until it is taken; any thread, by the owner alone
  Reactor::WatchId engine_watch = 0, inner_watch = 0;
  uint32_t engine_events = 0, inner_events = 0;  // what is watched for
  MultiplexedReader frames;
  std::string out;     // of stdout, what the pair did not take
  std::string unread;  // of the engine's stream, what came behind it
  std::string in;      // for stdin, what the engine did not take yet
  size_t in_sent = 0;  // but for this much
  bool again = false;  // a turn is posted
  bool ended = false;

  mutable std::mutex mu;
  std::string complaints;  // with mu held; any thread

  Impl(Reactor& r, std::unique_ptr<HttpConnection> connection) : reactor(r), engine(std::move(connection)) {}

  void End() {
    if (std::exchange(ended, true)) return;
    if (engine_watch != 0) reactor.Unwatch(engine_watch);
    if (inner_watch != 0) reactor.Unwatch(inner_watch);
    engine.reset();
    inner.reset();
  }

  // False: the pair takes no more now, and the rest is kept.
  bool Deliver(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(inner.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) {
        End();
        return false;
      }
      if (n < 0) {
        out.assign(bytes);
        return false;
      }
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  void Complain(std::string_view bytes) {
    const std::lock_guard lock(mu);
    complaints.append(bytes.substr(0, kMaxComplaints - std::min(kMaxComplaints, complaints.size())));
  }

  // False: no more now (the rest is kept), or the end.
  bool Take(std::string_view input) {
    for (;;) {
      auto part = frames.Next(input);
      if (!part) {
        Complain(part.error().message);
        End();
        return false;
      }
      if (!*part) return true;
      if ((*part)->stream == MultiplexedReader::kStderr) {
        Complain((*part)->bytes);
      } else if (!Deliver((*part)->bytes)) {
        if (!ended) unread.assign(input);
        return false;
      }
    }
  }

  // From the process. True: there is more to be had at once.
  bool Down() {
    if (!out.empty() && !Deliver(std::exchange(out, {}))) return false;
    if (!unread.empty() && !Take(std::exchange(unread, {}))) return false;
    const auto [data, size] = reactor.scratch();
    for (int i = 0; i < kTurn; ++i) {
      auto got = engine->Recv(data, std::min(size, kPiece));
      if (!got || (*got && **got == 0)) {
        End();
        return false;
      }
      if (!*got) return false;
      if (!Take({data, **got})) return false;
    }
    return true;
  }

  // To the process. What is offered to the connection twice stays where it is, as TLS wants it.
  bool Up() {
    const auto [data, size] = reactor.scratch();
    for (int i = 0; i < kTurn; ++i) {
      if (in.empty()) {
        const ssize_t n = ::recv(inner.get(), data, std::min(size, kPiece), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return false;
        if (n <= 0) {
          End();
          return false;
        }
        in.assign(data, static_cast<size_t>(n));
      }
      while (in_sent < in.size()) {
        auto n = engine->Send(std::string_view(in).substr(in_sent));
        if (!n) End();
        if (!n || *n == 0) return false;
        in_sent += *n;
      }
      in.clear();
      in_sent = 0;
    }
    return true;
  }

  void Turn() {
    if (ended) return;
    bool more = Down();
    if (!ended) more |= Up();
    if (ended) return;
    // A descriptor that nothing is wanted of is not watched, since its hanging up would be told without end;
    // but that the caller has closed its end is always of interest.
    Want(engine->fd(), (out.empty() ? EPOLLIN : 0u) | (in.empty() ? 0u : EPOLLOUT), engine_watch,
         engine_events);
    if (!ended)
      Want(inner.get(), (in.empty() ? EPOLLIN : EPOLLRDHUP) | (out.empty() ? 0u : EPOLLOUT), inner_watch,
           inner_events);
    if (!more || ended || std::exchange(again, true)) return;
    reactor.Post([self = shared_from_this()] {
      self->again = false;
      self->Turn();
    });
  }

  void Want(int fd, uint32_t events, Reactor::WatchId& watch, uint32_t& watched) {
    if (events == std::exchange(watched, events)) return;
    if (events == 0) {
      reactor.Unwatch(std::exchange(watch, 0));
    } else if (watch != 0) {
      reactor.Change(watch, events);
    } else {
      auto made = reactor.Watch(fd, events, [self = shared_from_this(), fd](uint32_t happened) {
        // The caller is gone, and what it sent last can't be passed on now.
        if (!self->ended && fd == self->inner.get() && !self->in.empty() &&
            (happened & (EPOLLRDHUP | EPOLLHUP)) != 0)
          return self->End();
        self->Turn();
      });
      if (!made) {
        Complain(made.error().message);
        return End();
      }
      watch = *made;
    }
  }
};

ExecStream::ExecStream(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<ExecStream>> ExecStream::Open(Reactor& reactor, HttpClient& client,
                                                     const std::string& api, const std::string& container,
                                                     const std::vector<std::string>& argv,
                                                     milliseconds limit) {
  const auto until = Clock::now() + limit;
  constexpr const char* kWhat = "run the channel's program in the container";
  HttpRequest create{.method = "POST",
                     .target = api + "/containers/" + UrlEscape(container) + "/exec",
                     .headers = {"Content-Type: application/json"},
                     .body = ExecBody(argv),
                     .timeout = limit};
  auto created = client.Call(std::move(create));
  if (!created) return TransportError(client.endpoint(), created.error());
  if (created->status != 201) return EngineError(kWhat, *created);
  auto doc = json::ParseObject(created->body);
  const std::string id = doc ? std::string(json::GetString(*doc, "Id").value_or("")) : std::string();
  if (!IsHex(id)) return Error{CSB_E_UNAVAILABLE, "the engine's answer to an exec has no id", "", false};

  const HttpRequest start{
      .method = "POST",
      .target = api + "/exec/" + id + "/start",
      .headers = {"Content-Type: application/json"},
      .body = R"({"Detach":false,"Tty":false})",
      .timeout = std::max(milliseconds(1), std::chrono::ceil<milliseconds>(until - Clock::now()))};
  auto started = Upgrade(client.endpoint(), "tcp", start);
  if (!started) return TransportError(client.endpoint(), started.error());
  if (started->response.status >= 400) return EngineError(kWhat, started->response);
  if (!started->connection)
    return Error{CSB_E_UNAVAILABLE,
                 "the engine answers an exec with HTTP status " + std::to_string(started->response.status) +
                     " where a stream is expected",
                 "a proxy between here and the engine must pass `Upgrade: tcp` on", false};

  auto impl = std::make_shared<Impl>(reactor, std::move(started->connection));
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return ErrnoError("socketpair");
  impl->inner = UniqueFd(pair[0]);
  impl->outer = UniqueFd(pair[1]);
  reactor.Post([impl] { impl->Turn(); });
  return std::unique_ptr<ExecStream>(new ExecStream(std::move(impl)));
}

ExecStream::~ExecStream() {
  impl_->reactor.Post([impl = impl_] { impl->End(); });
}

UniqueFd ExecStream::TakeSocket() { return std::move(impl_->outer); }

std::string ExecStream::Complaints() const {
  const std::lock_guard lock(impl_->mu);
  return Printable(impl_->complaints, kMaxComplaints);
}

}  // namespace csb::docker
