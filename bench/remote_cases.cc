// SPDX-License-Identifier: Apache-2.0
#include "bench/remote_cases.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "bench/calls.h"
#include "bench/engine_cases.h"
#include "bench/http_client.h"
#include "bench/measure.h"

namespace csb::bench {
namespace {

constexpr uint64_t kSize = 100'000'000;

// Both sides call the same sandbox: what differs is the way to it.
std::vector<Row> RemoteShell(RemoteContext& context) {
  HttpClient through(context.near.port()), direct(context.far.port());
  Samples ours, limit;
  bool failed = !Shell(through, "chain") || !Shell(direct, "chain");
  for (int i = 0; i < 400 / context.scale && !failed; ++i) {
    failed |= !Timed(ours, [&] { return Shell(through, "chain"); });
    failed |= !Timed(limit, [&] { return Shell(direct, "chain"); });
  }
  Destroy(through, "chain");
  return {Compare("remote: shell `true`, keep-alive", ours, limit, "directly on " + context.backend + ":",
                  "<= 1.3 x", failed)};
}

std::vector<Row> RemoteThroughput(RemoteContext& context) {
  constexpr int kClients = 8;
  std::array<std::string, kClients> users;
  std::vector<std::unique_ptr<HttpClient>> through, direct;
  std::atomic<int> bad{0};
  for (int i = 0; i < kClients; ++i) {
    users[i] = "load-" + std::to_string(i);
    through.push_back(std::make_unique<HttpClient>(context.near.port()));
    direct.push_back(std::make_unique<HttpClient>(context.far.port()));
    if (!Shell(*through[i], users[i])) ++bad;
  }
  Samples ours, limit;  // requests a second
  double cpu = 0, calls = 0;
  for (int round = 0; round < 5 && bad == 0; ++round) {
    const double ms = 2000.0 / context.scale, before = CpuSeconds(context.near.pid());
    ours.Add(Rate(kClients, ms, bad, [&](int i) { return Shell(*through[i], users[i]); }));
    cpu += CpuSeconds(context.near.pid()) - before;
    calls += ours.Last() * ms / 1000;
    limit.Add(Rate(kClients, ms, bad, [&](int i) { return Shell(*direct[i], users[i]); }));
  }
  for (int i = 0; i < kClients; ++i) Destroy(*through[i], users[i]);
  return {{"remote: shell, 8 clients, 8 users",
           Format("%.0f requests/s, %.0f errors", ours.Median(), bad.load()),
           Format("directly: %.0f requests/s; host in front %.0f us", limit.Median(),
                  cpu * 1e6 / std::max(1.0, calls)),
           Format("%.2f x", ours.Median() / limit.Median()), ">= 0.8 x", bad > 0}};
}

std::vector<Row> RemoteTransfer(RemoteContext& context) {
  HttpClient through(context.near.port()), direct(context.far.port());
  Samples up, down, up_limit, down_limit;
  bool failed = !Shell(through, "files");
  const auto transfer = [&](HttpClient& client, Samples& upload, Samples& download, const std::string& name) {
    uint64_t received = 0;
    const std::string target = "/sandbox/files/file?path=" + name;
    failed |= !Timed(upload, [&] { return client.PostRaw(target, kSize).status == 200; });
    failed |= !Timed(download, [&] { return client.GetRaw(target, &received).status == 200; });
    failed |= received != kSize || client.Delete(target).status != 200;
  };
  ResetPeakRss(context.near.pid());
  const double before = PeakRssMiB(context.near.pid()), rests = RssMiB(context.near.pid());
  for (int i = 0; i < 10 / std::min(context.scale, 5) && !failed; ++i) {
    transfer(through, up, down, "through");
    transfer(direct, up_limit, down_limit, "direct");
  }
  const double grew = PeakRssMiB(context.near.pid()) - before;
  Destroy(through, "files");
  const auto row = [&](const char* what, const Samples& ours, const Samples& limit) {
    return Row{what,
               Format("%.0f ms, %.0f MB/s", ours.Median(), kSize / 1000.0 / ours.Median()),
               Format("directly: %.0f ms, %.0f MB/s", limit.Median(), kSize / 1000.0 / limit.Median()),
               Format("%.2f x rate", limit.Median() / ours.Median()),
               ">= 0.7 x",
               failed};
  };
  return {row("remote: 100 MB up, raw", up, up_limit),
          row("remote: 100 MB down, raw", down, down_limit),
          {"remote: memory of the host in front", Format("%.1f MiB, grows %.1f MiB", rests, grew), "", "",
           "grows <= 16 MiB", failed}};
}

}  // namespace

const std::vector<RemoteCase>& RemoteCases() {
  static const std::vector<RemoteCase> cases = {{"remote-shell", RemoteShell},
                                                {"remote-throughput", RemoteThroughput},
                                                {"remote-transfer", RemoteTransfer}};
  return cases;
}

std::vector<std::string> RemoteOptions(const Service& far) {
  return {"--remote.url=http://127.0.0.1:" + std::to_string(far.port())};
}

}  // namespace csb::bench
