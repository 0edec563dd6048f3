// SPDX-License-Identifier: Apache-2.0
//
// fake_service.h: for tests: a sandbox service that answers what the test says, and counts.
//
//   FakeService service(kFullDocument);
//   service.On("POST /sandbox/alice/shell", [](Peer& peer, const std::string&) {
//     peer.Send(Answer(R"({"exit_code":0})"));
//     return true;                                   // false: the connection is closed
//   });
//   FakeHost host(FakeHost::Options{{"remote.url", service.url()}});
#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "plugins/common/http_fake_server.h"
#include "plugins/remote/testing.h"

namespace csb::remote {

using csb::testing::Answer;
using csb::testing::FakeServer;

class FakeService {
 public:
  using Peer = FakeServer::Peer;
  using Serve = std::function<bool(Peer&, const std::string& request)>;

  // document: of /openapi.json; empty: it has none. Healthy, and of the instance "i1", if it has one.
  explicit FakeService(std::string_view document)
      : document_(document), server_([this](Peer& peer) { Run(peer); }, FakeServer::Kind::kTcp) {}
  ~FakeService() { server_.Stop(); }

  // line: the method and target that a request begins with; the longest that fits is taken.
  void On(const std::string& line, Serve serve) {
    const std::lock_guard lock(mutex_);
    serve_[line] = std::move(serve);
  }
  void On(const std::string& line, std::string answer) {
    On(line, [answer = std::move(answer)](Peer& peer, const std::string&) { return peer.Send(answer); });
  }
  void Stop() { server_.Stop(); }

  const std::string& url() const { return server_.endpoint().url; }
  int connections() const { return server_.connections(); }
  // Those that began with it, in their order.
  std::vector<std::string> Seen(const std::string& line) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    std::copy_if(seen_.begin(), seen_.end(), std::back_inserter(out),
                 [&](const std::string& request) { return request.starts_with(line); });
    return out;
  }
  // Until `n` of them came.
  bool Wait(const std::string& line, size_t n = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] {
      return static_cast<size_t>(std::count_if(seen_.begin(), seen_.end(), [&](const std::string& request) {
               return request.starts_with(line);
             })) >= n;
    });
  }
  // Until a connection ended from the other side, or by Serve's false.
  bool WaitGone(int n = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return gone_ >= n; });
  }

 private:
  void Run(Peer& peer) {
    for (std::string request; !(request = peer.Request()).empty();) {
      Serve serve;
      {
        const std::lock_guard lock(mutex_);
        seen_.push_back(request);
        changed_.notify_all();
        size_t best = 0;
        for (const auto& [line, answer] : serve_)
          if (request.starts_with(line) && line.size() >= best) best = line.size(), serve = answer;
      }
      if (serve ? !serve(peer, request) : !peer.Send(Default(request))) break;
    }
    const std::lock_guard lock(mutex_);
    ++gone_;
    changed_.notify_all();
  }

  std::string Default(const std::string& request) const {
    if (request.starts_with("GET /health ")) return Answer(R"({"status":"healthy"})");
    if (request.starts_with("GET /openapi.json ") && !document_.empty()) return Answer(document_);
    if (request.starts_with("GET /info ") && document_ == kFullDocument)
      return "HTTP/1.1 200 OK\r\nX-Sandbox-Instance: i1\r\nContent-Length: 17\r\n\r\n{\"version\":\"9.9\"}";
    return Answer(R"({"detail":"Not Found"})", "404 Not Found");
  }

  const std::string_view document_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Serve> serve_;
  std::vector<std::string> seen_;
  int gone_ = 0;
  FakeServer server_;  // last: its threads use what is above
};

// The header of a request, or "".
inline std::string HeaderOf(const std::string& request, const std::string& name) {
  const size_t at = request.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size() + 4;
  return request.substr(begin, request.find("\r\n", begin) - begin);
}
inline std::string BodyOf(const std::string& request) { return request.substr(request.find("\r\n\r\n") + 4); }

inline constexpr std::string_view kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
inline constexpr std::string_view kStreamEnd = "0\r\n\r\n";
// One event as a chunk.
inline std::string Event(std::string_view data) {
  const std::string text = "data: " + std::string(data) + "\n\n";
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", text.size());
  return size + text + "\r\n";
}
inline const std::string kExit =
    Event(R"({"event":"exit","exit_code":0,"cause":"exit","execution_time":0.5})");

}  // namespace csb::remote
