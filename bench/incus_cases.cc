// SPDX-License-Identifier: Apache-2.0
#include "bench/incus_cases.h"

#include <atomic>

#include "bench/calls.h"
#include "bench/incus_peer.h"

namespace csb::bench {
namespace {

// A sandbox on another member than the one that is asked: both ways lead through that one.
std::vector<Row> AnotherMember(EngineContext& context) {
  auto options = context.options;
  options.push_back("--incus.target=m2");
  Service there(context.binary, "incus", options);
  EngineContext through{there, context.binary, context.kind, options, context.make_peer, context.scale};
  std::vector<Row> rows = EngineShell(through);
  for (Row& row : EngineExecute(through)) rows.push_back(std::move(row));
  return rows;
}

// Requests a second of all users' shells.
double ShellRate(Service& service, int users, double ms, std::atomic<int>& bad) {
  std::vector<std::unique_ptr<HttpClient>> clients;
  const auto user = [](int i) { return "load-" + std::to_string(i); };
  for (int i = 0; i < users; ++i) {
    clients.push_back(std::make_unique<HttpClient>(service.port()));
    if (!Shell(*clients.back(), user(i))) ++bad;
  }
  Samples rates;
  for (int round = 0; round < 3; ++round)
    rates.Add(Rate(users, ms, bad, [&](int i) { return Shell(*clients[static_cast<size_t>(i)], user(i)); }));
  for (int i = 0; i < users; ++i) Destroy(*clients[static_cast<size_t>(i)], user(i));
  return rates.Median();
}

std::vector<Row> Members(EngineContext& context) {
  constexpr int kUsers = 24;
  const double ms = 3000.0 / context.scale;
  std::atomic<int> bad{0};
  auto options = context.options;
  options.push_back("--incus.target=m1");
  const double spread = ShellRate(context.service, kUsers, ms, bad);
  Service one(context.binary, "incus", options);
  const double single = ShellRate(one, kUsers, ms, bad);
  return {{"incus cluster: shell, 24 users, 3 members",
           Format("%.0f requests/s, %.0f errors", spread, bad.load()),
           Format("the same, all on one member, %.0f requests/s", single), Format("%.2f x", spread / single),
           "", bad > 0}};
}

}  // namespace

const EngineKind kIncus = {
    .backend = "incus",
    .title = "incus",
    .goals = {.shell = "<= 0.15 x",
              .execute = "<= 0.65 x",
              .from_pool = "<= 0.05 x",
              .create = "<= 1.15 x",
              .destroy = "<= 0.2 x"},
    .launches = "API create with start, exec",
    .removes = "API stop by force, delete",
};

const EngineKind kIncusCluster = {
    .backend = "incus",
    .title = "incus, another member",
    .goals = {.shell = "<= 0.2 x", .execute = "", .from_pool = "", .create = "", .destroy = ""},
    .launches = kIncus.launches,
    .removes = kIncus.removes,
};

std::vector<std::string> IncusOptions(const std::string& socket, const std::string& image) {
  return {"--incus.remote=unix://" + socket, "--incus.image=" + image, "--incus.pool=default"};
}

std::vector<std::string> IncusClusterOptions(const std::string& socket, const std::string& image) {
  auto options = IncusOptions(socket, image);
  options.push_back("--incus.channel=exec");
  return options;
}

std::unique_ptr<Peer> MakeIncusPeer(const std::string& socket) { return std::make_unique<IncusPeer>(socket); }

const std::vector<EngineCase>& IncusCases() {
  static const std::vector<EngineCase> cases = {
      {"incus-shell", EngineShell}, {"incus-execute", EngineExecute}, {"incus-lifecycle", EngineLifecycle}};
  return cases;
}

const std::vector<EngineCase>& IncusClusterCases() {
  static const std::vector<EngineCase> cases = {{"incus-member", AnotherMember},
                                                {"incus-throughput", Members}};
  return cases;
}

}  // namespace csb::bench
