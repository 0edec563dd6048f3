// SPDX-License-Identifier: Apache-2.0
//
// engine_cases.h: the rows that every backend of an engine has. The peer is the engine's own API, called from
// here; both take turns, in the same engine, with the same image and the same limits.
#pragma once

#include <poll.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench/http_client.h"
#include "bench/measure.h"
#include "bench/peer.h"
#include "bench/row.h"
#include "bench/service.h"

namespace csb::bench {

// How the rows of a backend are called, what the peer does for each, and what the ratio is to be.
struct EngineKind {
  const char* backend;  // "docker"
  const char* title;    // "docker", "incus, another member"
  struct {
    const char *shell, *execute, *from_pool, *create, *destroy;
  } goals;
  const char *launches, *removes;  // "API create, start, exec"
};

struct EngineContext {
  Service& service;  // on the backend, without a pool
  std::string binary;
  const EngineKind& kind;
  std::vector<std::string> options;  // what the service was started with
  std::function<std::unique_ptr<Peer>()> make_peer;
  int scale;  // samples are divided by this
};

struct EngineCase {
  const char* name;
  std::vector<Row> (*run)(EngineContext&);
};

std::vector<Row> EngineShell(EngineContext& context);      // `true` in a sandbox that is there
std::vector<Row> EngineExecute(EngineContext& context);    // print(1)
std::vector<Row> EngineLifecycle(EngineContext& context);  // from the pool, without it, and the end

// A user with a sandbox, and one of the peer's that is its like; both are removed at the end.
class Pair {
 public:
  Pair(EngineContext& context, std::string user);
  ~Pair();
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  bool ready() const { return ready_; }
  const std::string& user() const { return user_; }
  HttpClient& client() { return client_; }
  Peer& peer() { return *peer_; }
  const std::string& id() const { return id_; }

 private:
  const std::string user_;
  HttpClient client_;
  const std::unique_ptr<Peer> peer_;
  std::string id_;
  bool ready_ = false;
};

// Runs `work` and adds the time it took; false when it failed.
template <typename F>
bool Timed(Samples& samples, F&& work) {
  const double start = NowMs();
  const bool good = work();
  samples.Add(NowMs() - start);
  return good;
}

// The engine still works for a while after its answers, and nothing tells when that is over. What is measured
// next should not pay for it: there is a pause, and a turn is several calls long where that is possible.
inline void Settle() { poll(nullptr, 0, 200); }

template <typename F, typename G>
void TakeTurns(int rounds, int calls, F&& ours, G&& peer) {
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < calls; ++i) ours();
    for (int i = 0; i < calls; ++i) peer();
    Settle();
  }
}

// Requests a second of `clients` that each do `work(i)` for `ms`.
template <typename F>
double Rate(int clients, double ms, std::atomic<int>& bad, F&& work) {
  std::atomic<int> done{0};
  const double start = NowMs(), end = start + ms;
  std::vector<std::thread> threads;
  for (int i = 0; i < clients; ++i)
    threads.emplace_back([&, i] {
      while (NowMs() < end) {
        if (!work(i)) ++bad;
        ++done;
      }
    });
  for (auto& t : threads) t.join();
  return done * 1000 / (NowMs() - start);
}

}  // namespace csb::bench
