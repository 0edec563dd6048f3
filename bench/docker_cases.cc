// SPDX-License-Identifier: Apache-2.0
#include "bench/docker_cases.h"

#include <atomic>
#include <memory>

#include "bench/calls.h"
#include "bench/docker_peer.h"
#include "bench/http_client.h"

namespace csb::bench {
namespace {

// A new file each time, and once more over it: a file system may flush one that replaces another.
std::vector<Row> Transfer(EngineContext& context) {
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
    auto& peer = static_cast<DockerPeer&>(pair.peer());
    const std::string name = "peer-" + std::to_string(names++), tar = TarOf(name, kSize);
    failed |= !Timed(put, [&] { return peer.Put(pair.id(), "/workspace", tar); });
    failed |= !Timed(put_over, [&] { return peer.Put(pair.id(), "/workspace", tar); });
    failed |= !Timed(get, [&] { return peer.Get(pair.id(), "/workspace/" + name, &received); });
    failed |= received < kSize;
  };
  if (!failed) TakeTurns(10 / context.scale, 5, ours, archive);
  return {Compare("docker: 10 MB up, raw", up, put, "API archive PUT", "<= 0.3 x", failed),
          Compare("docker: 10 MB up, over another", over, put_over, "API archive PUT", "", failed),
          Compare("docker: 10 MB down, raw", down, get, "API archive GET", "<= 0.3 x", failed)};
}

std::vector<Row> Throughput(EngineContext& context) {
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

const EngineKind kDocker = {
    .backend = "docker",
    .title = "docker",
    .goals = {.shell = "<= 0.04 x",
              .execute = "<= 0.35 x",
              .from_pool = "<= 0.05 x",
              .create = "<= 1.15 x",
              .destroy = "<= 1.2 x"},
    .launches = "API create, start, exec",
    .removes = "API DELETE ?force=1",
};

std::vector<std::string> DockerOptions(const std::string& socket, const std::string& image) {
  return {"--docker.host=unix://" + socket, "--docker.image=" + image};
}

std::unique_ptr<Peer> MakeDockerPeer(const std::string& socket) {
  return std::make_unique<DockerPeer>(socket);
}

const std::vector<EngineCase>& DockerCases() {
  static const std::vector<EngineCase> cases = {
      {"docker-shell", EngineShell}, {"docker-execute", EngineExecute}, {"docker-lifecycle", EngineLifecycle},
      {"docker-transfer", Transfer}, {"docker-throughput", Throughput},
  };
  return cases;
}

}  // namespace csb::bench
