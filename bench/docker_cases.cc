// SPDX-License-Identifier: Apache-2.0
#include "bench/docker_cases.h"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <thread>

#include "bench/calls.h"
#include "bench/engine_peer.h"
#include "bench/http_client.h"
#include "bench/measure.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::bench {
namespace {

constexpr int kPoolSize = 2;
constexpr double kPoolWaitMs = 30'000;

// The name of a user's container.
std::string ContainerOf(HttpClient& client, const std::string& user) {
  auto status = json::ParseObject(client.Get("/sandbox/" + user + "/status").body);
  if (!status) return {};
  return std::string(json::GetString(*status, "container_id").value_or(""));
}

// A user with a sandbox, and a container of the peer's that is its like; both are removed at the end.
class Pair {
 public:
  Pair(DockerContext& context, std::string user)
      : user_(std::move(user)), client_(context.service.port()), peer_(context.socket) {
    if (!Shell(client_, user_) || !peer_.Imitate(ContainerOf(client_, user_))) return;
    id_ = peer_.Create();
    ready_ = !id_.empty() && peer_.Start(id_);
  }
  ~Pair() {
    if (!id_.empty()) peer_.Remove(id_);
    peer_.RemoveVolumes();
    Destroy(client_, user_);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  bool ready() const { return ready_; }
  const std::string& user() const { return user_; }
  HttpClient& client() { return client_; }
  EnginePeer& peer() { return peer_; }
  const std::string& id() const { return id_; }

 private:
  const std::string user_;
  HttpClient client_;
  EnginePeer peer_;
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
void Settle() { poll(nullptr, 0, 200); }

template <typename F, typename G>
void TakeTurns(int rounds, int calls, F&& ours, G&& peer) {
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < calls; ++i) ours();
    for (int i = 0; i < calls; ++i) peer();
    Settle();
  }
}

std::vector<Row> ShellWarm(DockerContext& context) {
  Pair pair(context, "warm");
  Samples ours, peer;
  bool failed = !pair.ready();
  const auto shell = [&] { failed |= !Timed(ours, [&] { return Shell(pair.client(), pair.user()); }); };
  const auto exec = [&] {
    failed |= !Timed(peer, [&] { return pair.peer().Exec(pair.id(), {"true"}, ""); });
  };
  if (!failed) TakeTurns(20 / context.scale, 10, shell, exec);
  return {Compare("docker: shell `true`, warm", ours, peer, "API exec of true", "<= 0.04 x", failed)};
}

std::vector<Row> ExecuteWarm(DockerContext& context) {
  Pair pair(context, "python");
  Samples ours, peer;
  bool failed = !pair.ready();
  const auto execute = [&] { failed |= !Timed(ours, [&] { return Execute(pair.client(), pair.user()); }); };
  const auto exec = [&] {
    failed |= !Timed(peer, [&] { return pair.peer().Exec(pair.id(), {"python3", "-c", "print(1)"}, "1\n"); });
  };
  if (!failed) TakeTurns(10 / std::min(context.scale, 5), 10, execute, exec);
  return {Compare("docker: execute `print(1)`", ours, peer, "API exec of python3 -c", "<= 0.35 x", failed)};
}

// A claim has the pool refilled; that is over before anything else is measured.
bool WaitForPool(EnginePeer& peer, const std::string& installation, pid_t host) {
  for (const double end = NowMs() + kPoolWaitMs; peer.Pooled(installation) < kPoolSize;) {
    if (NowMs() > end) {
      fprintf(stderr, "bench: the pool does not fill\n");
      return false;
    }
    poll(nullptr, 0, 20);  // the engine's events are the backend's to follow, not the bench's
  }
  WaitUntilIdle(host);
  return true;
}

std::vector<Row> Lifecycle(DockerContext& context) {
  auto options = DockerOptions(context.socket, context.image);
  options.push_back("--docker.pool_size=" + std::to_string(kPoolSize));
  Service pooled(context.binary, "docker", options);
  HttpClient pool(pooled.port());
  Pair pair(context, "template");
  EnginePeer asked(context.socket);
  bool failed = !pair.ready() || !Shell(pool, "first") || !asked.Imitate(ContainerOf(pool, "first"));
  Samples from_pool, without, peer, ours_gone, peer_gone;
  const auto plain = [&] {
    std::string id;
    failed |= !Timed(peer, [&] {
      id = pair.peer().Create();
      return !id.empty() && pair.peer().Start(id) && pair.peer().Exec(id, {"true"}, "");
    });
    if (id.empty()) return;
    Settle();
    failed |= !Timed(peer_gone, [&] { return pair.peer().Remove(id); });
    Settle();
  };
  for (int i = 0; i < 30 / context.scale && !failed; ++i) {
    const std::string user = "create-" + std::to_string(i);
    if ((failed |= !WaitForPool(asked, asked.installation(), pooled.pid()))) break;
    failed |= !Timed(from_pool, [&] { return Shell(pool, user); });
    failed |= !WaitForPool(asked, asked.installation(), pooled.pid());
    plain();
    failed |= !Timed(without, [&] { return Shell(pair.client(), user); });
    Settle();
    // Files stay, as those of the peer do.
    failed |= !Timed(ours_gone, [&] { return pair.client().Delete("/sandbox/" + user).status == 200; });
    Settle();
    plain();
    Destroy(pair.client(), user);
    Destroy(pool, user);
  }
  Destroy(pool, "first");
  return {Compare("docker: create from the pool to result", from_pool, peer, "API create, start, exec",
                  "<= 0.05 x", failed),
          Compare("docker: create without it to result", without, peer, "API create, start, exec",
                  "<= 1.15 x", failed),
          Compare("docker: destroy", ours_gone, peer_gone, "API DELETE ?force=1", "<= 1.2 x", failed)};
}

// A new file each time, and once more over it: a file system may flush one that replaces another.
std::vector<Row> Transfer(DockerContext& context) {
  constexpr uint64_t kSize = 10'000'000;
  Pair pair(context, "files");
  Samples up, over, down, put, put_over, get;
  bool failed = !pair.ready();
  int names = 0;
  const auto ours = [&] {
    uint64_t received = 0;
    const std::string target = "/sandbox/" + pair.user() + "/file?path=ours-" + std::to_string(names++);
    failed |= !Timed(up, [&] { return pair.client().PostRaw(target, kSize).status == 200; });
    failed |= !Timed(over, [&] { return pair.client().PostRaw(target, kSize).status == 200; });
    failed |= !Timed(down, [&] { return pair.client().GetRaw(target, &received).status == 200; });
    failed |= received != kSize || pair.client().Delete(target).status != 200;
  };
  const auto archive = [&] {
    uint64_t received = 0;
    const std::string name = "peer-" + std::to_string(names++), tar = TarOf(name, kSize);
    failed |= !Timed(put, [&] { return pair.peer().Put(pair.id(), "/workspace", tar); });
    failed |= !Timed(put_over, [&] { return pair.peer().Put(pair.id(), "/workspace", tar); });
    failed |= !Timed(get, [&] { return pair.peer().Get(pair.id(), "/workspace/" + name, &received); });
    failed |= received < kSize;
  };
  if (!failed) TakeTurns(10 / context.scale, 5, ours, archive);
  return {Compare("docker: 10 MB up, raw", up, put, "API archive PUT", "<= 0.3 x", failed),
          Compare("docker: 10 MB up, over another", over, put_over, "API archive PUT", "", failed),
          Compare("docker: 10 MB down, raw", down, get, "API archive GET", "<= 0.3 x", failed)};
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

std::vector<Row> Throughput(DockerContext& context) {
  constexpr int kClients = 8;
  std::vector<std::unique_ptr<Pair>> pairs;
  std::atomic<int> bad{0};
  for (int i = 0; i < kClients; ++i) {
    pairs.push_back(std::make_unique<Pair>(context, "load-" + std::to_string(i)));
    if (!pairs.back()->ready()) ++bad;
  }
  Samples ours, peer;  // requests a second
  for (int round = 0; round < 3 && bad == 0; ++round) {
    const auto shell = [&](int i) { return Shell(pairs[i]->client(), pairs[i]->user()); };
    const auto exec = [&](int i) { return pairs[i]->peer().Exec(pairs[i]->id(), {"true"}, ""); };
    ours.Add(Rate(kClients, 2000.0 / context.scale, bad, shell));
    peer.Add(Rate(kClients, 5000.0 / context.scale, bad, exec));
  }
  return {{"docker: shell, 8 clients, 8 users",
           Format("%.0f requests/s, %.0f errors", ours.Median(), bad.load()),
           Format("8 x API exec of true, %.1f requests/s", peer.Median()),
           Format("%.1f x", ours.Median() / peer.Median()), ">= 15 x", bad > 0}};
}

}  // namespace

std::vector<std::string> DockerOptions(const std::string& socket, const std::string& image) {
  return {"--docker.host=unix://" + socket, "--docker.image=" + image};
}

const std::vector<DockerCase>& DockerCases() {
  static const std::vector<DockerCase> cases = {
      {"docker-shell", ShellWarm},   {"docker-execute", ExecuteWarm},   {"docker-lifecycle", Lifecycle},
      {"docker-transfer", Transfer}, {"docker-throughput", Throughput},
  };
  return cases;
}

}  // namespace csb::bench
