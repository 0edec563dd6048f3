// SPDX-License-Identifier: Apache-2.0
#include "bench/calls.h"

#include <cstdio>

namespace csb::bench {

bool Succeeded(const HttpReply& reply) {
  const bool good = reply.status == 200 && reply.body.find("\"success\":true") != std::string::npos;
  if (!good) fprintf(stderr, "bench: HTTP %d %.300s\n", reply.status, reply.body.c_str());
  return good;
}

bool Shell(HttpClient& client, const std::string& user) {
  return Succeeded(client.Post("/sandbox/" + user + "/shell", R"({"command":"true"})"));
}

bool Execute(HttpClient& client, const std::string& user) {
  // A delimiter, since the code has )" in it.
  return Succeeded(client.Post("/sandbox/" + user + "/execute", R"json({"code":"print(1)"})json"));
}

void Destroy(HttpClient& client, const std::string& user) {
  client.Delete("/sandbox/" + user + "?purge=true");
}

}  // namespace csb::bench
