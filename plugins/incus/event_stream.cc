// SPDX-License-Identifier: Apache-2.0
#include "plugins/incus/event_stream.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "plugins/common/web_socket.h"
#include "plugins/incus/engine_error.h"

namespace csb::incus {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxEvent = 1 << 20;
constexpr size_t kMaxName = 256;  // of a type, a project, a member

// False: not an event.
bool Read(std::string_view text, json::Document& doc, std::optional<EventStream::Event>& event) {
  auto parsed = json::ParseObject(text);
  if (!parsed || text.empty()) return false;
  doc = *std::move(parsed);
  const auto type = json::GetString(doc, "type");
  const json::Value* metadata = json::Find(doc, "metadata");
  const auto project = json::GetString(doc, "project").value_or("");
  const auto location = json::GetString(doc, "location").value_or("");
  if (!type || type->empty() || metadata == nullptr || !metadata->IsObject()) return false;
  if (std::max({type->size(), project.size(), location.size()}) > kMaxName) return false;
  event.emplace(EventStream::Event{*type, project, location, *metadata});
  return true;
}

}  // namespace

struct EventStream::Impl {
  // What the websocket's handlers use; they may come after the stream has gone.
  struct State {
    Handlers handlers;  // called on the reactor's thread, with telling held
    std::mutex telling;
    bool stopped = false;    // with telling held
    bool told_lost = false;  // with telling held

    std::mutex mu;
    std::condition_variable_any changed;
    uint64_t opening = 0;  // with mu held: which one is current
    bool over = false;     // with mu held: the current one has ended
    bool good = false;     // with mu held: it has told an event

    template <typename Function>
    void Tell(Function function) {
      const std::lock_guard lock(telling);
      if (!stopped) function(handlers);
    }
    void Opened() {
      Tell([&](Handlers& h) {
        told_lost = false;
        if (h.on_open) h.on_open();
      });
    }
    void Lost(const Error& why) {
      Tell([&](Handlers& h) {
        if (!std::exchange(told_lost, true) && h.on_lost) h.on_lost(why);
      });
    }
    // Of one opening: it is over.
    void Over(uint64_t which, const Error& why) {
      {
        const std::lock_guard lock(mu);
        if (which != opening || std::exchange(over, true)) return;
      }
      Lost(why);
      changed.notify_all();
    }
    void Take(uint64_t which, std::string_view message) {
      {
        const std::lock_guard lock(mu);
        if (which != opening || over) return;
      }
      json::Document doc;
      std::optional<Event> event;
      if (!Read(message, doc, event))
        return Over(which, {CSB_E_UNAVAILABLE, "what the engine sends as an event is none", "", true});
      {
        const std::lock_guard lock(mu);
        good = true;
      }
      Tell([&](Handlers& h) {
        if (h.on_event) h.on_event(*event);
      });
    }
  };

  Reactor& reactor;
  const HttpEndpoint endpoint;
  const Options options;
  std::shared_ptr<State> state = std::make_shared<State>();
  std::jthread thread;  // last: it uses all of the above

  Impl(Reactor& r, HttpEndpoint e, Options o) : reactor(r), endpoint(std::move(e)), options(std::move(o)) {}

  std::string Target() const {
    return "/1.0/events?type=" + UrlEscape(options.types) +
           (options.project.empty() ? "&all-projects=true" : "&project=" + UrlEscape(options.project));
  }

  // Handlers are the reactor's.
  void PostLost(Error why) {
    reactor.Post([state = state, why = std::move(why)] { state->Lost(why); });
  }

  void Run(const std::stop_token& stop) {
    auto pause = options.first_pause;
    while (!stop.stop_requested()) {
      if (Once(stop)) pause = options.first_pause;
      std::unique_lock lock(state->mu);
      state->changed.wait_for(lock, stop, pause, [] { return false; });
      pause = std::min(pause * 2, options.longest_pause);
    }
  }

  // One stream from its opening to its end. True: it was of use.
  bool Once(const std::stop_token& stop) {
    auto answer = WebSocket::Open(
        reactor, endpoint, Target(), {}, options.limit,
        {.max_message = kMaxEvent, .write_buffer = 512, .silence = options.silence, .stop = stop});
    if (stop.stop_requested()) return false;
    if (!answer) {
      PostLost(TransportError(endpoint, answer.error()));
      return false;
    }
    if (!answer->socket) {
      PostLost(answer->response.status >= 400
                   ? EngineError("follow the engine's events", answer->response)
                   : Error{CSB_E_UNAVAILABLE,
                           "the engine answers with HTTP status " + std::to_string(answer->response.status) +
                               " where a websocket is expected",
                           "a proxy between here and the engine must pass `Upgrade: websocket` on", false});
      return false;
    }
    const auto since = Clock::now();
    uint64_t which = 0;
    {
      const std::lock_guard lock(state->mu);
      which = ++state->opening;
      state->over = state->good = false;
    }
    reactor.Post([state = state] { state->Opened(); });
    answer->socket->Start(
        {.on_message = [state = state, which](bool,
                                              std::string_view message) { state->Take(which, message); },
         .on_end = [state = state, which, endpoint = endpoint](
                       const Error& why) { state->Over(which, TransportError(endpoint, why)); },
         .on_room = {}});
    std::unique_lock lock(state->mu);
    state->changed.wait(lock, stop, [&] { return state->over; });
    state->over = true;
    return state->good || Clock::now() - since > options.longest_pause;
  }
};

EventStream::EventStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<EventStream>> EventStream::Open(Reactor& reactor, HttpEndpoint endpoint,
                                                       Options options, Handlers handlers) {
  auto impl = std::make_unique<Impl>(reactor, std::move(endpoint), std::move(options));
  impl->state->handlers = std::move(handlers);
  try {
    impl->thread = std::jthread([raw = impl.get()](const std::stop_token& stop) { raw->Run(stop); });
  } catch (const std::system_error& e) {
    return Error{CSB_E_IO, std::string("can't start the thread for the engine's events: ") + e.what(),
                 "raise the limit of threads", true};
  }
  return std::unique_ptr<EventStream>(new EventStream(std::move(impl)));
}

EventStream::~EventStream() {
  {
    const std::lock_guard lock(impl_->state->telling);
    impl_->state->stopped = true;
  }
  impl_->thread.request_stop();
  impl_->thread.join();
}

}  // namespace csb::incus
