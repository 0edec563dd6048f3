// SPDX-License-Identifier: Apache-2.0
//
// main.cc: clara-sandbox-bench --binary PATH [--only NAME,NAME] [--quick] [--json FILE]
#include <cstdio>
#include <cstring>
#include <string>

#include "bench/cases.h"
#include "clara_sandbox/cpp/json.h"

namespace {

using namespace csb;
using namespace csb::bench;

void Print(const Row& row) {
  printf("| %-36s | %-34s | %-46s | %-7s | %-19s |\n", row.what.c_str(),
         row.failed ? "FAILED" : row.figure.c_str(), row.against.c_str(), row.ratio.c_str(),
         row.goal.c_str());
  fflush(stdout);
}

bool Wanted(const std::string& only, const char* name) {
  return only.empty() || ("," + only + ",").find("," + std::string(name) + ",") != std::string::npos;
}

}  // namespace

int main(int argc, char** argv) {
  std::string binary, only, json_file;
  int scale = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    const bool has_value = i + 1 < argc;
    if (arg == "--quick")
      scale = 5;
    else if (arg == "--binary" && has_value)
      binary = argv[++i];
    else if (arg == "--only" && has_value)
      only = argv[++i];
    else if (arg == "--json" && has_value)
      json_file = argv[++i];
    else {
      fprintf(stderr,
              "usage: clara-sandbox-bench --binary PATH [--only NAME,NAME] [--quick] [--json FILE]\nnames:");
      for (const Case& c : Cases()) fprintf(stderr, " %s", c.name);
      fprintf(stderr, "\n");
      return 2;
    }
  }
  if (binary.empty()) {
    fprintf(stderr, "--binary is missing: use script/bench\n");
    return 2;
  }
  Print({"what", "median / p99", "against (same run)", "ratio", "goal"});
  Print({"---", "---", "---", "---", "---"});
  Service service(binary);
  Context context{service, scale};
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartArray();
  bool failed = false;
  for (const Case& c : Cases()) {
    if (!Wanted(only, c.name)) continue;
    for (const Row& row : c.run(context)) {
      Print(row);
      failed |= row.failed;
      writer.StartObject();
      json::Member(writer, "what", row.what);
      json::Member(writer, "figure", row.figure);
      json::Member(writer, "against", row.against);
      json::Member(writer, "ratio", row.ratio);
      json::Member(writer, "goal", row.goal);
      json::Member(writer, "failed", row.failed);
      writer.EndObject();
    }
  }
  writer.EndArray();
  if (!json_file.empty()) {
    FILE* out = fopen(json_file.c_str(), "we");
    if (out == nullptr || fputs(buffer.GetString(), out) < 0 || fclose(out) != 0) {
      fprintf(stderr, "cannot write %s: %s\n", json_file.c_str(), strerror(errno));
      return 1;
    }
  }
  return failed ? 1 : 0;
}
