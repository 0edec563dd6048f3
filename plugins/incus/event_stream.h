// SPDX-License-Identifier: Apache-2.0
//
// event_stream.h: the engine's events as they come, of all members of a cluster (Incus REST API, "Events").
//
//   auto events = EventStream::Open(reactor, endpoint, {.project = "default"},
//                                   {.on_event = [](const EventStream::Event& event) { … },
//                                    .on_open = [] { /* compare with what the engine has */ }});
//
// A stream that ends is opened again, with growing pauses while that fails. Whatever happened in between is
// not told: on_open is for the comparison.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/http_client.h"
#include "plugins/common/reactor.h"

namespace csb::incus {

class EventStream {
 public:
  struct Event {                  // valid while the handler runs
    std::string_view type;        // "lifecycle", "operation"
    std::string_view project;     // may be empty
    std::string_view location;    // the member, in a cluster
    const json::Value& metadata;  // an object; its members are the engine's word, unchecked
  };
  struct Options {
    std::string types = "operation,lifecycle";
    std::string project = {};                   // empty: all
    std::chrono::milliseconds limit{10'000};    // for one opening
    std::chrono::milliseconds silence{60'000};  // the engine pings every 10 s
    std::chrono::milliseconds first_pause{100}, longest_pause{5'000};
  };
  // On the reactor's thread. on_open comes before the first event of an opening; on_lost once when it ended
  // or could not be had (TransportError, EngineError), and not again until the next on_open.
  struct Handlers {
    std::function<void(const Event&)> on_event;
    std::function<void()> on_open;
    std::function<void(const Error&)> on_lost;
  };

  // Returns at once; the rest happens on a thread of its own. The reactor must outlive it.
  static Result<std::unique_ptr<EventStream>> Open(Reactor& reactor, HttpEndpoint endpoint, Options options,
                                                   Handlers handlers);
  // No handler runs after this. Not on the reactor's thread. May take a second where a server does not take
  // our connection.
  ~EventStream();

 private:
  struct Impl;
  explicit EventStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace csb::incus
