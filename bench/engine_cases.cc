// SPDX-License-Identifier: Apache-2.0
#include "bench/engine_cases.h"

#include <algorithm>
#include <cstdio>

#include "bench/calls.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::bench {
namespace {

constexpr int kPoolSize = 2;
constexpr double kPoolWaitMs = 30'000;

// What the engine calls a user's sandbox.
std::string SandboxOf(HttpClient& client, const std::string& user) {
  auto status = json::ParseObject(client.Get("/sandbox/" + user + "/status").body);
  if (!status) return {};
  return std::string(json::GetString(*status, "container_id").value_or(""));
}

// A claim has the pool refilled; that is over before anything else is measured.
bool WaitForPool(Peer& peer, const std::string& installation, pid_t host) {
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

std::string Titled(const EngineContext& context, const char* what) {
  return std::string(context.kind.title) + ": " + what;
}

}  // namespace

Pair::Pair(EngineContext& context, std::string user)
    : user_(std::move(user)), client_(context.service.port()), peer_(context.make_peer()) {
  if (!Shell(client_, user_) || !peer_->Imitate(SandboxOf(client_, user_))) return;
  id_ = peer_->Launch();
  ready_ = !id_.empty();
}

Pair::~Pair() {
  if (!id_.empty()) peer_->Remove(id_);
  peer_->RemoveVolumes();
  Destroy(client_, user_);
}

std::vector<Row> EngineShell(EngineContext& context) {
  Pair pair(context, "warm");
  Samples ours, peer;
  bool failed = !pair.ready();
  const auto shell = [&] { failed |= !Timed(ours, [&] { return Shell(pair.client(), pair.user()); }); };
  const auto exec = [&] {
    failed |= !Timed(peer, [&] { return pair.peer().Exec(pair.id(), {"true"}, ""); });
  };
  if (!failed) TakeTurns(20 / context.scale, 10, shell, exec);
  return {Compare(Titled(context, "shell `true`, warm"), ours, peer, "API exec of true",
                  context.kind.goals.shell, failed)};
}

std::vector<Row> EngineExecute(EngineContext& context) {
  Pair pair(context, "python");
  Samples ours, peer;
  bool failed = !pair.ready();
  const auto execute = [&] { failed |= !Timed(ours, [&] { return Execute(pair.client(), pair.user()); }); };
  const auto exec = [&] {
    failed |= !Timed(peer, [&] { return pair.peer().Exec(pair.id(), {"python3", "-c", "print(1)"}, "1\n"); });
  };
  if (!failed) TakeTurns(10 / std::min(context.scale, 5), 10, execute, exec);
  return {Compare(Titled(context, "execute `print(1)`"), ours, peer, "API exec of python3 -c",
                  context.kind.goals.execute, failed)};
}

std::vector<Row> EngineLifecycle(EngineContext& context) {
  const EngineKind& kind = context.kind;
  auto options = context.options;
  options.push_back(std::string("--") + kind.backend + ".pool_size=" + std::to_string(kPoolSize));
  Service pooled(context.binary, kind.backend, options);
  HttpClient pool(pooled.port());
  Pair pair(context, "template");
  const std::unique_ptr<Peer> asked = context.make_peer();
  bool failed = !pair.ready() || !Shell(pool, "first") || !asked->Imitate(SandboxOf(pool, "first"));
  Samples from_pool, without, peer, ours_gone, peer_gone;
  const auto plain = [&] {
    std::string id;
    failed |= !Timed(peer, [&] {
      id = pair.peer().Launch();
      return !id.empty() && pair.peer().Exec(id, {"true"}, "");
    });
    if (id.empty()) return;
    Settle();
    failed |= !Timed(peer_gone, [&] { return pair.peer().Remove(id); });
    Settle();
  };
  for (int i = 0; i < 30 / context.scale && !failed; ++i) {
    const std::string user = "create-" + std::to_string(i);
    if ((failed |= !WaitForPool(*asked, asked->installation(), pooled.pid()))) break;
    failed |= !Timed(from_pool, [&] { return Shell(pool, user); });
    failed |= !WaitForPool(*asked, asked->installation(), pooled.pid());
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
  return {
      Compare(Titled(context, "create from the pool to result"), from_pool, peer, kind.launches,
              kind.goals.from_pool, failed),
      Compare(Titled(context, "create without it to result"), without, peer, kind.launches, kind.goals.create,
              failed),
      Compare(Titled(context, "destroy"), ours_gone, peer_gone, kind.removes, kind.goals.destroy, failed)};
}

}  // namespace csb::bench
