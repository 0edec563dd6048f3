// SPDX-License-Identifier: Apache-2.0
#include "bench/python_cases.h"

#include <algorithm>
#include <fstream>

#include "bench/calls.h"
#include "bench/http_client.h"
#include "bench/measure.h"
#include "bench/service.h"

namespace csb::bench {
namespace {

constexpr const char* kPython = "/usr/bin/python3";

bool Post(HttpClient& client, const std::string& body) {
  return Succeeded(client.Post("/sandbox/python/execute", body));
}

// A call of ours and a plain interpreter take turns, as calls of an assistant do: with a pause between.
std::vector<Row> Turns(PythonContext& context, Service& service, const std::string& what,
                       const std::string& body, const std::string& plain, const std::string& goal) {
  HttpClient client(service.port());
  bool failed = false;
  // The first ones start what is kept.
  for (int i = 0; i < 5 && !failed; ++i) failed = !Post(client, body);
  Samples ours, limit;
  for (int i = 0; i < 200 / context.scale && !failed; ++i) {
    const double start = NowMs();
    failed = !Post(client, body);
    ours.Add(NowMs() - start);
    limit.Add(SpawnMs({kPython, "-c", plain}));
  }
  return {Compare(what, ours, limit, "python3 -c '" + plain + "'", goal, failed)};
}

std::vector<Row> Calls(PythonContext& context) {
  const std::string fresh = R"x({"code":"print(1)"})x";
  const std::string stateful = R"x({"code":"print(1)","context":"c"})x";
  Service service(context.binary, "bubblewrap");
  auto rows = Turns(context, service, "execute print(1), fresh", fresh, "print(1)", "<= 0.3 x");
  for (Row& row : Turns(context, service, "execute print(1), in a context", stateful, "print(1)", "<= 0.1 x"))
    rows.push_back(std::move(row));
  // One after the other without a pause: then the fork for the next is made while the last one runs.
  HttpClient client(service.port());
  Samples ours, limit;
  bool failed = false;
  for (int i = 0; i < 200 / context.scale && !failed; ++i) {
    const double start = NowMs();
    failed = !Post(client, fresh);
    ours.Add(NowMs() - start);
  }
  for (int i = 0; i < 50 / context.scale + 1; ++i) limit.Add(SpawnMs({kPython, "-c", "print(1)"}));
  rows.push_back(Compare("the same, fresh, back to back", ours, limit, "python3 -c 'print(1)'", "", failed));
  Destroy(client, "python");
  return rows;
}

std::vector<Row> Preloaded(PythonContext& context) {
  const std::string is_there = R"x({"code":"import sys\nassert 'pandas' in sys.modules"})x";
  // Debian's package; elsewhere there may be none for this Python.
  if (Spawn({kPython, "-c", "import pandas"}) != 0)
    return {{"import pandas, loaded ahead", "skipped: no pandas here", "apt-get install python3-pandas", "",
             "<= 0.1 x", false}};
  Service service(context.binary, "bubblewrap", {"--sandbox.preload=pandas"});
  HttpClient client(service.port());
  // Until it has been loaded, which takes as long as an import.
  for (int i = 0; i < 200 && !Post(client, is_there); ++i) SpawnMs({kPython, "-c", "print(1)"});
  auto rows = Turns(context, service, "import pandas, loaded ahead", R"x({"code":"import pandas"})x",
                    "import pandas", "<= 0.1 x");
  Destroy(client, "python");
  return rows;
}

}  // namespace

const std::vector<PythonCase>& PythonCases() {
  static const std::vector<PythonCase> cases = {{"python-calls", Calls}, {"pandas", Preloaded}};
  return cases;
}

}  // namespace csb::bench
