// SPDX-License-Identifier: Apache-2.0
#include "bench/cases.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <thread>

#include "bench/calls.h"
#include "bench/http_client.h"
#include "bench/measure.h"

namespace csb::bench {
namespace {

std::vector<Row> ShellWarm(Context& context) {
  HttpClient client(context.service.port());
  Samples ours, limit;
  bool failed = !Shell(client, "warm");
  for (int i = 0; i < 400 / context.scale && !failed; ++i) {
    const double start = NowMs();
    failed = !Shell(client, "warm");
    ours.Add(NowMs() - start);
    limit.Add(SpawnMs({"sh", "-c", "true"}));
  }
  Destroy(client, "warm");
  return {Compare("shell `true`, warm", ours, limit, "sh -c true", "<= 2.0 x", failed)};
}

std::vector<Row> ExecuteWarm(Context& context) {
  HttpClient client(context.service.port());
  Samples ours, limit;
  bool failed = !Shell(client, "python");
  for (int i = 0; i < 100 / context.scale && !failed; ++i) {
    const double start = NowMs();
    failed = !Execute(client, "python");
    ours.Add(NowMs() - start);
    limit.Add(SpawnMs({"/usr/bin/python3", "-c", "print(1)"}));
  }
  Destroy(client, "python");
  return {Compare("execute `print(1)`", ours, limit, "python3 -c", "<= 1.5 x", failed)};
}

// bwrap with the namespaces and mounts that a sandbox of ours has, on a folder as workspace.
std::vector<std::string> PlainBwrap(const std::string& workspace) {
  std::vector<std::string> argv = {"bwrap", "--unshare-all", "--new-session", "--ro-bind", "/usr", "/usr"};
  for (const char* name : {"/bin", "/sbin", "/lib", "/lib64", "/lib32"}) {
    struct stat info {};
    if (lstat(name, &info) != 0) continue;
    char target[256] = {};
    if (S_ISLNK(info.st_mode) && readlink(name, target, sizeof target - 1) > 0)
      argv.insert(argv.end(), {"--symlink", target, name});
    else
      argv.insert(argv.end(), {"--ro-bind", name, name});
  }
  argv.insert(argv.end(), {"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/etc",
                           "--ro-bind", "/etc/alternatives", "/etc/alternatives", "--bind", workspace,
                           "/workspace", "--clearenv", "--chdir", "/workspace", "/usr/bin/true"});
  return argv;
}

std::vector<Row> Create(Context& context) {
  HttpClient client(context.service.port());
  const std::string workspace = context.service.folder() + "/plain";
  mkdir(workspace.c_str(), 0755);
  Samples ours, limit;
  bool failed = !Shell(client, "create-first");
  for (int i = 0; i < 40 / context.scale && !failed; ++i) {
    const std::string user = "create-" + std::to_string(i);
    const double start = NowMs();
    failed = !Shell(client, user);
    ours.Add(NowMs() - start);
    limit.Add(SpawnMs(PlainBwrap(workspace)));
    Destroy(client, user);
  }
  Destroy(client, "create-first");
  return {Compare("create to first shell result", ours, limit, "bwrap ... true", "<= 4 x", failed)};
}

std::vector<Row> CreateMany(Context& context) {
  const int count = 100;
  const std::string workspace = context.service.folder() + "/plain";
  mkdir(workspace.c_str(), 0755);
  const auto plain = [&] {
    const double start = NowMs();
    std::atomic<int> next{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&] {
        while (next++ < count) Spawn(PlainBwrap(workspace));
      });
    for (auto& t : threads) t.join();
    return NowMs() - start;
  };
  std::atomic<int> bad{0};
  const auto ours = [&](int round) {
    const double start = NowMs();
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
      threads.emplace_back([&, i] {
        HttpClient client(context.service.port());
        if (!Shell(client, "many-" + std::to_string(round) + "-" + std::to_string(i))) ++bad;
      });
    for (auto& t : threads) t.join();
    const double took = NowMs() - start;
    HttpClient client(context.service.port());
    for (int i = 0; i < count; ++i)
      Destroy(client, "many-" + std::to_string(round) + "-" + std::to_string(i));
    return took;
  };
  Samples us, limit;
  for (int round = 0; round < (context.scale > 1 ? 1 : 3); ++round) {
    limit.Add(plain());
    us.Add(ours(round));
  }
  return {{"100 sandboxes at once, all answered", Format("%.0f ms, %.0f failed", us.Median(), bad.load()),
           Format("100 x bwrap ... true, 8 at a time %.0f ms", limit.Median()),
           Format("%.2f x", us.Median() / limit.Median()), "<= 2 x, none failed", bad > 0}};
}

std::vector<Row> Throughput(Context& context) {
  std::atomic<int> done{0}, bad{0};
  for (int u = 0; u < 8; ++u) {
    HttpClient client(context.service.port());
    if (!Shell(client, "load-" + std::to_string(u))) ++bad;
  }
  const double cpu = CpuSeconds(context.service.pid());
  const double start = NowMs(), end = start + 5000.0 / context.scale;
  std::vector<std::thread> threads;
  for (int u = 0; u < 8; ++u)
    threads.emplace_back([&, u] {
      HttpClient client(context.service.port());
      while (NowMs() < end) {
        if (!Shell(client, "load-" + std::to_string(u))) ++bad;
        ++done;
      }
    });
  for (auto& t : threads) t.join();
  const double seconds = (NowMs() - start) / 1000;
  const double host = (CpuSeconds(context.service.pid()) - cpu) * 1e6 / std::max(1, done.load());
  HttpClient client(context.service.port());
  for (int u = 0; u < 8; ++u) Destroy(client, "load-" + std::to_string(u));
  return {{"shell throughput, 8 clients, 8 users",
           Format("%.0f requests/s, %.0f errors", done.load() / seconds, bad.load()),
           Format("host CPU %.0f us a request", host), "", "no error", bad > 0}};
}

std::vector<Row> Transfer(Context& context) {
  constexpr uint64_t kSize = 100'000'000;
  HttpClient client(context.service.port());
  const pid_t host = context.service.pid();
  bool failed = !Shell(client, "files");
  const std::string local = context.service.folder() + "/local";
  {
    std::ofstream file(local, std::ios::binary);
    const std::string block(1'000'000, 'x');
    for (int i = 0; i < 100; ++i) file << block;
  }
  ResetPeakRss(host);
  const double before = PeakRssMiB(host);
  Samples up, down, copy;
  for (int i = 0; i < 5 / std::min(context.scale, 5) + 1 && !failed; ++i) {
    double start = NowMs();
    failed |= client.PostRaw("/sandbox/files/file?path=big", kSize).status != 200;
    up.Add(NowMs() - start);
    start = NowMs();
    uint64_t received = 0;
    failed |= client.GetRaw("/sandbox/files/file?path=big", &received).status != 200 || received != kSize;
    down.Add(NowMs() - start);
    copy.Add(SpawnMs({"cp", local, local + ".copy"}));
  }
  const double grew = PeakRssMiB(host) - before;
  Destroy(client, "files");
  const std::string against = Format("cp %.0f ms", copy.Median());
  return {{"100 MB up, raw", Format("%.0f ms, host grows %.1f MiB", up.Median(), grew), against,
           Format("%.2f x", up.Median() / copy.Median()), "grows <= 16 MB", failed},
          {"100 MB down, raw", Format("%.0f ms", down.Median()), against,
           Format("%.2f x", down.Median() / copy.Median()), "", failed}};
}

std::vector<Row> Idle(Context& context) {
  const int count = 200 / std::min(context.scale, 4);
  HttpClient client(context.service.port());
  bool failed = false;
  for (int i = 0; i < count && !failed; ++i) failed = !Shell(client, "idle-" + std::to_string(i));
  const std::vector<pid_t> found = SandboxProcesses(context.service.name());
  const std::set<pid_t> pids(found.begin(), found.end());
  double pss = 0;
  for (pid_t pid : pids) pss += PssMiB(pid);
  const double host = RssMiB(context.service.pid());
  for (int i = 0; i < count; ++i) Destroy(client, "idle-" + std::to_string(i));
  return {{Format("%.0f idle sandboxes, each", count), Format("%.2f MiB PSS (agent and bwrap)", pss / count),
           "", "", "<= 2 MB", failed},
          {"host with them", Format("%.1f MiB RSS", host), "", "", "<= 60 MB", failed}};
}

std::vector<Row> ManyLive(Context& context) {
  const int count = 500 / context.scale;
  HttpClient client(context.service.port());
  bool failed = !Shell(client, "live-0");
  // The machine may be busier in one half than in the other: a plain process beside each request tells.
  const auto measure = [&](Samples& ours, Samples& plain) {
    WaitUntilIdle(context.service.pid());
    for (int i = 0; i < 400 / context.scale && !failed; ++i) {
      const double start = NowMs();
      failed = !Shell(client, "live-0");
      ours.Add(NowMs() - start);
      plain.Add(SpawnMs({"sh", "-c", "true"}));
    }
  };
  Samples one, plain_with_one, many, plain_with_many;
  measure(one, plain_with_one);
  std::atomic<int> next{1}, bad{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      HttpClient own(context.service.port());
      for (int i; (i = next++) < count;)
        if (!Shell(own, "live-" + std::to_string(i))) ++bad;
    });
  for (auto& t : threads) t.join();
  failed |= bad > 0;
  measure(many, plain_with_many);
  for (int i = 0; i < count; ++i) Destroy(client, "live-" + std::to_string(i));
  Row row =
      Compare(Format("latency with %.0f live sandboxes", count), many, one, "with 1", "<= 1.3 x", failed);
  row.against +=
      Format("; sh -c true then %.2f, now %.2f", plain_with_one.Median(), plain_with_many.Median());
  return {row};
}

}  // namespace

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {"shell", ShellWarm},       {"execute", ExecuteWarm}, {"create", Create}, {"create-many", CreateMany},
      {"throughput", Throughput}, {"transfer", Transfer},   {"idle", Idle},     {"many-live", ManyLive},
  };
  return cases;
}

}  // namespace csb::bench
