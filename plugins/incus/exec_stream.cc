// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/exec_stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/errno_error.h"
#include "plugins/common/printable.h"
#include "plugins/common/web_socket.h"
#include "plugins/incus/engine_error.h"

namespace csb::incus {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr size_t kPiece = 64 << 10;
constexpr size_t kMaxQueue = 256 << 10;
constexpr size_t kMaxComplaints = 4 << 10;
constexpr int kTurn = 16;  // pieces before others on the reactor have theirs
// What a program has after its input's end before it is killed, and stderr after stdout's end, since a child
// may hold it open.
constexpr auto kGrace = 2s;
constexpr auto kLastWords = 500ms;
constexpr auto kAskLimit = 2s;
// The engine pings each websocket every 10 s. Only that of stdin is listened to all the time.
constexpr auto kSilence = 60s;

std::string ExecBody(const std::vector<std::string>& argv) {
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  json::Key(w, "command");
  w.StartArray();
  for (const std::string& arg : argv) json::String(w, arg);
  w.EndArray();
  json::Member(w, "wait-for-websocket", true);
  json::Member(w, "interactive", false);
  json::Member(w, "user", 0);
  json::Member(w, "group", 0);
  json::Key(w, "environment");
  w.StartObject();
  w.EndObject();
  w.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

// Of an operation's id and a websocket's secret.
bool IsPlain(std::string_view id) {
  return !id.empty() && id.size() <= 256 &&
         id.find_first_not_of("0123456789abcdefABCDEF-") == std::string_view::npos;
}

struct Operation {
  std::string id;
  std::array<std::string, 3> secrets;  // of stdin, stdout, stderr
};

Result<Operation> Read(const std::string& body) {
  const auto odd = [](const char* what) {
    return Error{CSB_E_UNAVAILABLE, std::string("the engine's answer to an exec has no ") + what, "", false};
  };
  auto doc = json::ParseObject(body);
  const json::Value* operation = doc ? json::Find(*doc, "metadata") : nullptr;
  if (operation == nullptr) return odd("operation");
  Operation out{.id = std::string(json::GetString(*operation, "id").value_or(""))};
  if (!IsPlain(out.id)) return odd("id");
  const json::Value* metadata = json::Find(*operation, "metadata");
  const json::Value* fds = metadata != nullptr ? json::Find(*metadata, "fds") : nullptr;
  if (fds == nullptr) return odd("websockets");
  for (size_t i = 0; i < out.secrets.size(); ++i) {
    out.secrets[i] = json::GetString(*fds, std::to_string(i)).value_or("");
    if (!IsPlain(out.secrets[i])) return odd("secret for a websocket");
  }
  return out;
}

// How an operation ended, as far as that is of interest; empty where it ended well or has not ended.
std::string Ending(const Result<HttpResponse>& answer) {
  if (!answer || answer->status != 200) return "";
  auto doc = json::ParseObject(answer->body);
  if (!doc) return "";
  // What failed is told as an error of the answer by some versions, as the operation's own by others.
  const json::Value* operation = json::Find(*doc, "metadata");
  for (const auto words : {json::GetString(*doc, "error"),
                           operation != nullptr ? json::GetString(*operation, "err") : std::nullopt})
    if (words && !words->empty()) return Printable(*words, 512);
  const json::Value* metadata = operation != nullptr ? json::Find(*operation, "metadata") : nullptr;
  const int64_t code = metadata != nullptr ? json::GetInt(*metadata, "return").value_or(0) : 0;
  if (code == 0) return "";
  return "the program ended with exit code " + std::to_string(code) +
         (code == 127 ? ": it is not in the instance" : "");
}

}  // namespace

// The pump between the websockets and the socket whose other end is the caller's. All of it but what is said
// to be otherwise lives on the reactor's thread.
struct ExecStream::Impl : std::enable_shared_from_this<ExecStream::Impl> {
  Reactor& reactor;
  HttpClient& client;
  const std::string operation;  // "/1.0/operations/ID"
  std::unique_ptr<WebSocket> in, out, err;
  UniqueFd inner;  // our end of the pair
  UniqueFd outer;  // the caller's, until it is taken; any thread, by the owner alone
  Reactor::WatchId watch = 0;
  uint32_t watched = 0;
  Reactor::TimerId timer = 0;
  std::string undelivered;  // of stdout, what the pair did not take
  std::string unsent;       // for stdin, what its websocket did not take
  std::string input_lost;   // why, if it was
  bool input_ended = false, caller_gone = false;
  std::string output_lost;  // why, if it was
  bool out_ended = false, err_ended = false, asked = false, asking = false;
  bool again = false;  // a turn is posted
  bool ended = false;

  mutable std::mutex mu;
  std::string complaints;  // with mu held; any thread

  Impl(Reactor& r, HttpClient& c, std::string path) : reactor(r), client(c), operation(std::move(path)) {}

  void Begin() {
    if (ended) return;
    const auto self = shared_from_this();
    in->Start({.on_message = [](bool, std::string_view) {},
               .on_end = [self](const Error& why) { self->InputLost(why); },
               .on_room = [self] { self->Turn(); }});
    out->Start({.on_message =
                    [self](bool binary, std::string_view message) {
                      if (self->ended || self->out_ended) return;
                      binary ? self->Take(message) : self->OutputEnded();
                    },
                .on_end = [self](const Error& why) { self->OutputLost(why); },
                .on_room = {}});
    err->Start({.on_message =
                    [self](bool binary, std::string_view message) {
                      binary ? self->Complain(message) : self->ErrorsEnded();
                    },
                .on_end = [self](const Error&) { self->ErrorsEnded(); },
                .on_room = {}});
    Turn();
  }

  void End() {
    if (std::exchange(ended, true)) return;
    if (watch != 0) reactor.Unwatch(std::exchange(watch, 0));
    if (timer != 0) reactor.CancelTimer(std::exchange(timer, 0));
    in.reset();
    out.reset();
    err.reset();
    inner.reset();
  }

  std::string Complaints() const {
    const std::lock_guard lock(mu);
    return Printable(complaints, kMaxComplaints);
  }

  void Complain(std::string_view bytes) {
    const std::lock_guard lock(mu);
    complaints.append(bytes.substr(0, kMaxComplaints - std::min(kMaxComplaints, complaints.size())));
  }

  // ---- from the program ----

  void Take(std::string_view bytes) {
    if (caller_gone) return;
    if (!undelivered.empty())
      undelivered.append(bytes);
    else
      Deliver(bytes);
    Want();
  }

  void Deliver(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(inner.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) return CallerGone();
      if (n < 0) {
        undelivered.assign(bytes);
        return out->Pause();
      }
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    if (!out_ended) out->Resume();
  }

  void OutputEnded() {
    if (ended || std::exchange(out_ended, true)) return;
    Finish();
    if (ended) return;
    Await(kLastWords, [](Impl& self) { self.ErrorsEnded(); });
  }

  // Without an end of stdout.
  void OutputLost(const Error& why) {
    if (ended || out_ended) return;
    output_lost = why.message;
    OutputEnded();
  }

  void ErrorsEnded() {
    if (ended) return;
    err_ended = true;
    Finish();
  }

  // The end, when the program's side has come to it and all was passed on. Where nothing was said of it, the
  // operation tells.
  void Finish() {
    if (ended || !out_ended || !err_ended || asking || !undelivered.empty()) return;
    if (caller_gone || !Complaints().empty() || std::exchange(asked, true)) return End();
    asking = true;
    client.Start({.target = operation + "/wait?timeout=1", .timeout = kAskLimit, .max_body = 64 << 10},
                 [self = shared_from_this()](const Result<HttpResponse>& answer) {
                   const std::string words = Ending(answer);
                   self->Complain(words.empty() ? self->output_lost : words);
                   self->asking = false;
                   self->Finish();
                 });
  }

  // ---- to the program ----

  // True: there is more to be had at once.
  bool Up() {
    if (input_ended || (!unsent.empty() && !in->Send(true, unsent))) return false;
    unsent.clear();
    const auto [data, size] = reactor.scratch();
    for (int i = 0; i < kTurn; ++i) {
      const ssize_t n = ::recv(inner.get(), data, std::min(size, kPiece), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return false;
      if (n <= 0) {
        input_ended = true;
        // As text it says that nothing follows. It finds no room where the queue is full: closing says it
        // too.
        if (!in->Send(false, "")) in->Close();
        return false;
      }
      if (!in->Send(true, {data, static_cast<size_t>(n)})) {
        unsent.assign(data, static_cast<size_t>(n));
        return false;
      }
    }
    return true;
  }

  // The program has closed its input or is ending, or nobody is there any more; without it the stream is of
  // no use.
  void InputLost(const Error& why) {
    const bool silent = why.code == CSB_E_DEADLINE;
    if (ended || out_ended || caller_gone || (input_ended && !silent)) return;
    input_ended = true;
    unsent.clear();
    input_lost = why.message;
    Await(silent ? 0s : kGrace, [](Impl& self) {
      self.Complain(self.input_lost);
      self.End();
    });
    Want();
  }

  // What it sent before is still passed on.
  void CallerGone() {
    if (ended || std::exchange(caller_gone, true)) return;
    undelivered.clear();
    if (!out_ended) out->Resume();
    Await(kGrace, [](Impl& self) { self.End(); });
    Finish();
    if (!ended) Turn();
  }

  void Await(milliseconds limit, void (*then)(Impl&)) {
    if (timer != 0) reactor.CancelTimer(timer);
    timer = reactor.At(Clock::now() + limit, [self = shared_from_this(), then] {
      self->timer = 0;
      if (!self->ended) then(*self);
    });
  }

  // ---- the pair ----

  void Turn() {
    if (ended) return;
    if (!undelivered.empty()) {
      Deliver(std::exchange(undelivered, {}));
      Finish();
      if (ended) return;
    }
    const bool more = Up();
    if (ended) return;
    Want();
    if (!more || ended || std::exchange(again, true)) return;
    reactor.Post([self = shared_from_this()] {
      self->again = false;
      self->Turn();
    });
  }

  void Want() {
    if (ended) return;
    // Once the caller has gone there is nothing to wait for, and its hanging up would be told without end.
    const uint32_t events = caller_gone ? 0
                                        : uint32_t{EPOLLERR} | (undelivered.empty() ? 0u : EPOLLOUT) |
                                              (input_ended || !unsent.empty() ? 0u : EPOLLIN);
    if (events == std::exchange(watched, events)) return;
    if (events == 0) {
      reactor.Unwatch(std::exchange(watch, 0));
    } else if (watch != 0) {
      reactor.Change(watch, events);
    } else {
      auto made = reactor.Watch(inner.get(), events, [self = shared_from_this()](uint32_t happened) {
        if (self->ended) return;
        (happened & EPOLLHUP) != 0 ? self->CallerGone() : self->Turn();
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
                                                     const std::string& project, const std::string& instance,
                                                     const std::vector<std::string>& argv,
                                                     milliseconds limit) {
  const auto until = Clock::now() + limit;
  const std::string what = "run the channel's program in the instance " + Printable(instance, 64);
  auto created =
      client.Call({.method = "POST",
                   .target = "/1.0/instances/" + UrlEscape(instance) + "/exec?project=" + UrlEscape(project),
                   .headers = {"Content-Type: application/json"},
                   .body = ExecBody(argv),
                   .timeout = limit});
  if (!created) return TransportError(client.endpoint(), created.error());
  if (created->status != 202) return EngineError(what, *created);
  auto operation = Read(created->body);
  if (!operation) return operation.error();

  auto impl = std::make_shared<Impl>(reactor, client, "/1.0/operations/" + operation->id);
  std::unique_ptr<WebSocket>* const sockets[] = {&impl->in, &impl->out, &impl->err};
  for (size_t i = 0; i < operation->secrets.size(); ++i) {
    const auto left = std::max(milliseconds(1), std::chrono::ceil<milliseconds>(until - Clock::now()));
    auto answer = WebSocket::Open(reactor, client.endpoint(),
                                  impl->operation + "/websocket?secret=" + operation->secrets[i], {}, left,
                                  {.max_queue = kMaxQueue,
                                   .write_buffer = i == 0 ? kPiece : 512,
                                   .silence = milliseconds(i == 0 ? kSilence : 0s)});
    if (!answer) return TransportError(client.endpoint(), answer.error());
    if (answer->response.status >= 400) return EngineError(what, answer->response);
    if (!answer->socket)
      return Error{CSB_E_UNAVAILABLE,
                   "the engine answers an exec with HTTP status " + std::to_string(answer->response.status) +
                       " where a websocket is expected",
                   "a proxy between here and the engine must pass `Upgrade: websocket` on", false};
    *sockets[i] = std::move(answer->socket);
  }
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return ErrnoError("socketpair");
  impl->inner = UniqueFd(pair[0]);
  impl->outer = UniqueFd(pair[1]);
  reactor.Post([impl] { impl->Begin(); });
  return std::unique_ptr<ExecStream>(new ExecStream(std::move(impl)));
}

ExecStream::~ExecStream() {
  impl_->reactor.Post([impl = impl_] { impl->End(); });
}

UniqueFd ExecStream::TakeSocket() { return std::move(impl_->outer); }

std::string ExecStream::Complaints() const { return impl_->Complaints(); }

}  // namespace csb::incus
