// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/routes.h"

#include <gtest/gtest.h>

#include <set>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/operation.h"
#include "plugins/http/target.h"

namespace csb::http {
namespace {

Match Find(const char* method, const char* target) {
  return FindRoute(method, ParseTarget(target)->segments);
}

TEST(Routes, FindTheirOperation) {
  const std::pair<std::pair<const char*, const char*>, uint32_t> expected[] = {
      {{"POST", "/sandbox/u/create"}, CSB_OP_CREATE},
      {{"POST", "/sandbox/u/execute"}, CSB_OP_EXECUTE},
      {{"POST", "/sandbox/u/shell"}, CSB_OP_SHELL},
      {{"POST", "/sandbox/u/exec"}, CSB_OP_EXEC},
      {{"GET", "/sandbox/u/stat?path=x"}, CSB_OP_FILE_STAT},
      {{"GET", "/sandboxes"}, CSB_OP_LIST},
      {{"POST", "/sandbox/u/pip/install"}, CSB_OP_PIP_INSTALL},
      {{"GET", "/sandbox/u/pip/list"}, CSB_OP_PIP_LIST},
      {{"GET", "/sandbox/u/files?path=x"}, CSB_OP_FILE_LIST},
      {{"GET", "/sandbox/u/file"}, CSB_OP_FILE_READ},
      {{"POST", "/sandbox/u/file"}, CSB_OP_FILE_WRITE},
      {{"DELETE", "/sandbox/u/file"}, CSB_OP_FILE_DELETE},
      {{"POST", "/sandbox/u/unzip"}, CSB_OP_UNZIP},
      {{"GET", "/sandbox/u/status"}, CSB_OP_STATUS},
      {{"POST", "/sandbox/u/stop"}, CSB_OP_STOP},
      {{"POST", "/sandbox/u/restart"}, CSB_OP_RESTART},
      {{"DELETE", "/sandbox/u/destroy"}, CSB_OP_DESTROY},
      {{"DELETE", "/sandbox/u"}, CSB_OP_DESTROY},
      {{"GET", "/health"}, CSB_OP_HEALTH},
      {{"HEAD", "/health"}, CSB_OP_HEALTH},
      {{"GET", "/info"}, CSB_OP_INFO},
      {{"GET", "/metrics"}, CSB_OP_METRICS},
  };
  for (const auto& [request, op] : expected) {
    const Match match = Find(request.first, request.second);
    ASSERT_NE(match.route, nullptr) << request.second;
    EXPECT_EQ(match.route->op, op) << request.second;
  }
  EXPECT_EQ(Find("GET", "/docs").route->answer, Answer::kDocs);
  EXPECT_EQ(Find("GET", "/openapi.json").route->answer, Answer::kOpenApi);
}

TEST(Routes, TakeAnyUserId) {
  EXPECT_EQ(Find("GET", "/sandbox/a%2Fb/status").user, "a/b");
  EXPECT_EQ(Find("GET", "/sandbox/%252F/status").user, "%2F");
  EXPECT_EQ(Find("GET", "/sandbox/../status").user, "..");
  EXPECT_EQ(Find("GET", "/sandbox/%2e%2e%2f..%2f/status").user, "../../");
  EXPECT_EQ(Find("DELETE", "/sandbox/status").user, "status");
  EXPECT_NE(Find("GET", "/sandbox//status").route, nullptr) << "answered 422, not 404";
}

TEST(Routes, TellTheOtherMethodsOfAPath) {
  EXPECT_EQ(Find("PUT", "/sandbox/u/file").allow, "GET, HEAD, POST, DELETE, OPTIONS");
  EXPECT_EQ(Find("OPTIONS", "/sandbox/u/shell").allow, "POST, OPTIONS");
  EXPECT_EQ(Find("get", "/health").allow, "GET, HEAD, OPTIONS") << "methods are case-sensitive";
}

TEST(Routes, NothingElseExists) {
  for (const char* path :
       {"/", "/sandbox", "/sandbox/", "/sandbox/u/", "/sandbox/u/shell/", "/sandbox/u/nothing", "/health/",
        "//health", "/Health", "/sandbox/u/pip", "/sandbox/a/b/shell"}) {
    const Match match = Find("GET", path);
    EXPECT_EQ(match.route, nullptr) << path;
    if (std::string_view(path) != "/sandbox/") {
      EXPECT_EQ(match.allow, "") << path;
    }
  }
}

TEST(Routes, AreDescribedWhole) {
  std::set<std::string> ids;
  for (const Route& route : Routes()) {
    EXPECT_TRUE(ids.insert(route.id).second) << route.id;
    EXPECT_STRNE(route.summary, "") << route.path;
    for (const Field& field : route.fields) {
      EXPECT_TRUE(json::ParseObject(field.schema)) << route.id << " " << field.name;
      EXPECT_STRNE(field.doc, "") << route.id << " " << field.name;
    }
  }
}

}  // namespace
}  // namespace csb::http
