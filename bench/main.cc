// SPDX-License-Identifier: Apache-2.0
//
// main.cc: clara-sandbox-bench --binary PATH [--docker SOCKET --image NAME] [--incus SOCKET --incus-image
// NAME]
// [--incus-cluster SOCKET] [--only NAME,NAME] [--quick] [--json FILE]
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "bench/cases.h"
#include "bench/docker_cases.h"
#include "bench/incus_cases.h"
#include "bench/python_cases.h"
#include "bench/remote_cases.h"
#include "clara_sandbox/cpp/json.h"

namespace {

using namespace csb;
using namespace csb::bench;

struct Arguments {
  std::string binary, only, json_file, docker, image, incus, incus_cluster, incus_image;
  int scale = 1;
};

bool Parse(int argc, char** argv, Arguments* out) {
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    std::string* value = nullptr;
    if (arg == "--quick") {
      out->scale = 5;
      continue;
    }
    if (arg == "--binary") value = &out->binary;
    if (arg == "--only") value = &out->only;
    if (arg == "--json") value = &out->json_file;
    if (arg == "--docker") value = &out->docker;
    if (arg == "--image") value = &out->image;
    if (arg == "--incus") value = &out->incus;
    if (arg == "--incus-cluster") value = &out->incus_cluster;
    if (arg == "--incus-image") value = &out->incus_image;
    if (value == nullptr || ++i == argc) return false;
    *value = argv[i];
  }
  const bool incus = !out->incus.empty() || !out->incus_cluster.empty();
  return !out->binary.empty() && out->docker.empty() == out->image.empty() &&
         incus != out->incus_image.empty();
}

void Usage() {
  fprintf(stderr,
          "usage: script/bench [--docker] [--incus] [--incus-cluster] [--only NAME,NAME] [--quick] [--json "
          "FILE]\n"
          "names:");
  for (const Case& c : Cases()) fprintf(stderr, " %s", c.name);
  fprintf(stderr, "\nof Python, or both of them as `python`:");
  for (const PythonCase& c : PythonCases()) fprintf(stderr, " %s", c.name);
  fprintf(stderr, "\nthrough the backend remote, or all of them as `remote`:");
  for (const RemoteCase& c : RemoteCases()) fprintf(stderr, " %s", c.name);
  const std::pair<const char*, const std::vector<EngineCase>&> engines[] = {
      {"docker", DockerCases()}, {"incus", IncusCases()}, {"incus-cluster", IncusClusterCases()}};
  for (const auto& [name, cases] : engines) {
    fprintf(stderr, "\nwith --%s also, or all of them as `%s`:", name, name);
    for (const EngineCase& c : cases) fprintf(stderr, " %s", c.name);
  }
  fprintf(stderr, "\n");
}

// The table on stdout, and the same as JSON.
class Table {
 public:
  Table() : writer_(buffer_) {
    Print({"what", "median / p99", "against (same run)", "ratio", "goal"});
    Print({"---", "---", "---", "---", "---"});
    writer_.StartArray();
  }
  void Add(const Row& row) {
    Print(row);
    failed_ |= row.failed;
    empty_ = false;
    writer_.StartObject();
    json::Member(writer_, "what", row.what);
    json::Member(writer_, "figure", row.figure);
    json::Member(writer_, "against", row.against);
    json::Member(writer_, "ratio", row.ratio);
    json::Member(writer_, "goal", row.goal);
    json::Member(writer_, "failed", row.failed);
    writer_.EndObject();
  }
  bool empty() const { return empty_; }
  bool failed() const { return failed_; }
  bool Write(const std::string& path) {
    writer_.EndArray();
    if (path.empty()) return true;
    FILE* out = fopen(path.c_str(), "we");
    if (out != nullptr && fputs(buffer_.GetString(), out) >= 0 && fclose(out) == 0) return true;
    fprintf(stderr, "cannot write %s: %s\n", path.c_str(), strerror(errno));
    return false;
  }

 private:
  static void Print(const Row& row) {
    printf("| %-38s | %-34s | %-46s | %-7s | %-19s |\n", row.what.c_str(),
           row.failed ? "FAILED" : row.figure.c_str(), row.against.c_str(), row.ratio.c_str(),
           row.goal.c_str());
    fflush(stdout);
  }

  json::Buffer buffer_;
  json::Writer writer_;
  bool failed_ = false, empty_ = true;
};

bool Named(const std::string& only, const std::string& name) {
  return ("," + only + ",").find("," + name + ",") != std::string::npos;
}

// Runs those of the cases that were asked for; a host is started when there are any. `group` names them all.
template <typename C, typename F>
void Run(const std::vector<C>& all, const std::string& only, const char* group, Table& table, F&& with_host) {
  std::vector<C> wanted;
  for (const C& c : all)
    if (only.empty() || Named(only, group) || Named(only, c.name)) wanted.push_back(c);
  if (wanted.empty()) return;
  with_host([&](auto& context) {
    for (const C& c : wanted)
      for (const Row& row : c.run(context)) table.Add(row);
  });
}

}  // namespace

int main(int argc, char** argv) {
  Arguments args;
  if (!Parse(argc, argv, &args)) {
    Usage();
    return 2;
  }
  Table table;
  Run(Cases(), args.only, "bubblewrap", table, [&](auto&& run) {
    Service service(args.binary, "bubblewrap");
    Context context{service, args.scale};
    run(context);
  });
  Run(PythonCases(), args.only, "python", table, [&](auto&& run) {
    PythonContext context{args.binary, args.scale};
    run(context);
  });
  // Over docker where there is one, as a service elsewhere is likely to be.
  Run(RemoteCases(), args.only, "remote", table, [&](auto&& run) {
    const bool docker = !args.docker.empty();
    const std::string backend = docker ? "docker" : "bubblewrap";
    Service far(args.binary, backend,
                docker ? DockerOptions(args.docker, args.image) : std::vector<std::string>());
    Service near(args.binary, "remote", RemoteOptions(far));
    RemoteContext context{near, far, backend, args.scale};
    run(context);
  });
  const auto engine = [&](const char* group, const std::vector<EngineCase>& cases, const EngineKind& kind,
                          const std::vector<std::string>& options, auto make_peer) {
    Run(cases, args.only, group, table, [&](auto&& run) {
      Service service(args.binary, kind.backend, options);
      EngineContext context{service, args.binary, kind, options, make_peer, args.scale};
      run(context);
    });
  };
  if (!args.docker.empty())
    engine("docker", DockerCases(), kDocker, DockerOptions(args.docker, args.image),
           [&] { return MakeDockerPeer(args.docker); });
  if (!args.incus.empty())
    engine("incus", IncusCases(), kIncus, IncusOptions(args.incus, args.incus_image),
           [&] { return MakeIncusPeer(args.incus); });
  if (!args.incus_cluster.empty())
    engine("incus-cluster", IncusClusterCases(), kIncusCluster,
           IncusClusterOptions(args.incus_cluster, args.incus_image),
           [&] { return MakeIncusPeer(args.incus_cluster); });
  if (table.empty()) {
    Usage();
    return 2;
  }
  if (!table.Write(args.json_file)) return 1;
  return table.failed() ? 1 : 0;
}
