// SPDX-License-Identifier: Apache-2.0
//
// engine_impl.h: what engine.cc and engine_resources.cc share: one request, its answer, its operation.
#pragma once

#include <atomic>
#include <condition_variable>
#include <string>
#include <utility>
#include <vector>

#include "plugins/incus/engine.h"
#include "plugins/incus/engine_json.h"
#include "plugins/incus/event_stream.h"
#include "plugins/incus/operation.h"

namespace csb::incus {

// A request's answer of type "sync", or what its operation ended with.
struct Reply {
  json::Document doc;
  std::string etag;
  OperationInfo operation;  // id "": there was none
  const json::Value& metadata() const { return Metadata(doc); }
};

struct Engine::Impl : std::enable_shared_from_this<Engine::Impl> {
  using Clock = std::chrono::steady_clock;

  Impl(Reactor& r, HttpClient& c, std::string p, std::string q)
      : reactor(r), client(c), project(std::move(p)), query(q), operations(c, std::move(q)) {}

  // request.timeout is taken for the whole, its operation included.
  Result<Reply> Ask(HttpRequest request, const std::string& what);
  Result<Reply> Get(const std::string& path, const std::string& what, Limit limit);
  Status Change(const char* method, const std::string& path, const std::string& what, Limit limit,
                std::string body, std::vector<std::string> headers = {});
  void NoteShutdown(int code, std::string_view words);
  void TellShutdown();
  void Open();  // the event streams; again after a while where that fails
  void Close();
  void OnEvent(const EventStream::Event& event);
  void OnLog(const EventStream::Event& event);
  void OnOpen();
  void OnLost(const Error& why);

  Reactor& reactor;
  HttpClient& client;
  const std::string project;
  const std::string query;  // "?project=…"
  Operations operations;

  std::mutex mutex;
  std::condition_variable changed;
  uint64_t lifecycles = 0;
  ServerInfo info;
  bool known = false;
  Clock::time_point asked;
  Handlers handlers;
  bool closed = false, told_shutdown = false;
  std::unique_ptr<EventStream> events;
  std::unique_ptr<EventStream> log;  // apart: a client that is bound to a project may not have it
};

// What is left of a limit, for a function that asks more than once.
class Deadline {
 public:
  explicit Deadline(Engine::Limit limit)
      : end_(std::chrono::steady_clock::now() + std::min<Engine::Limit>(limit, std::chrono::hours(24))) {}
  // At least 1 ms: 0 would be none.
  Engine::Limit left() const {
    return std::max(Engine::Limit(1),
                    std::chrono::ceil<Engine::Limit>(end_ - std::chrono::steady_clock::now()));
  }
  std::chrono::steady_clock::time_point end() const { return end_; }

 private:
  std::chrono::steady_clock::time_point end_;
};

// "&target=m2", or "".
std::string TargetQuery(const std::string& member);

// "gone already" is what was wanted.
inline Status Gone(const Status& status) {
  return status || status.error().code == CSB_E_NOT_FOUND ? Status() : status;
}
template <typename T, typename Read>
Result<T> Map(const Result<Reply>& reply, Read&& read) {
  if (!reply) return reply.error();
  return read(reply->metadata());
}

}  // namespace csb::incus
