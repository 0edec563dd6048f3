// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/openapi.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "clara_sandbox/cpp/json.h"
#include "plugins/http/routes.h"

namespace csb::http {
namespace {

class OpenApi : public ::testing::Test {
 protected:
  const std::string text_ = OpenApiDocument();
  const json::Document doc_ = *json::ParseObject(text_);
  // Every "$ref" must name something that is there.
  void CheckReferences(const json::Value& value) {
    if (value.IsArray())
      for (const auto& item : value.GetArray()) CheckReferences(item);
    if (!value.IsObject()) return;
    for (const auto& member : value.GetObject()) {
      if (std::string_view(member.name.GetString()) != "$ref") {
        CheckReferences(member.value);
        continue;
      }
      const std::string name = member.value.GetString(), prefix = "#/components/schemas/";
      ASSERT_EQ(name.substr(0, prefix.size()), prefix);
      EXPECT_TRUE(doc_["components"]["schemas"].HasMember(name.substr(prefix.size()))) << name;
    }
  }
};

TEST_F(OpenApi, DescribesEveryRouteAndNoOther) {
  EXPECT_STREQ(doc_["openapi"].GetString(), "3.1.0");
  size_t operations = 0;
  for (const auto& path : doc_["paths"].GetObject()) operations += path.value.MemberCount();
  EXPECT_EQ(operations, Routes().size());
  for (const Route& route : Routes()) {
    std::string method = route.method;
    std::transform(method.begin(), method.end(), method.begin(), ::tolower);
    ASSERT_TRUE(doc_["paths"].HasMember(route.path)) << route.path;
    ASSERT_TRUE(doc_["paths"][route.path].HasMember(method)) << route.path;
    EXPECT_STREQ(doc_["paths"][route.path][method]["operationId"].GetString(), route.id);
  }
}

TEST_F(OpenApi, ReferencesResolve) { CheckReferences(doc_); }

TEST_F(OpenApi, RequiredFieldsAreMarked) {
  const auto& schema = doc_["paths"]["/sandbox/{user_id}/execute"]["post"]["requestBody"]["content"]
                           ["application/json"]["schema"];
  EXPECT_STREQ(schema["required"][0].GetString(), "code");
  EXPECT_EQ(schema["properties"]["timeout"]["default"].GetInt(), 30);
  EXPECT_EQ(doc_["paths"]["/health"]["get"]["security"].Size(), 0u);
}

TEST_F(OpenApi, EveryPostMayHaveAKey) {
  for (const auto& path : doc_["paths"].GetObject())
    for (const auto& method : path.value.GetObject()) {
      const bool post = std::string_view(method.name.GetString()) == "post";
      bool key = false;
      for (const auto& parameter : method.value["parameters"].GetArray())
        key = key || std::string_view(parameter["name"].GetString()) == "Idempotency-Key";
      EXPECT_EQ(key, post) << path.name.GetString();
    }
}

TEST_F(OpenApi, AGeneratedClientKnowsWhereToAskAndWhatMayCome) {
  EXPECT_STREQ(doc_["servers"][0]["url"].GetString(), "/");
  for (const auto& path : doc_["paths"].GetObject())
    for (const auto& method : path.value.GetObject())
      EXPECT_TRUE(method.value["responses"].HasMember("400")) << path.name.GetString();
  // Who asks for the health reads the same members whatever it is.
  EXPECT_STREQ(
      doc_["paths"]["/health"]["get"]["responses"]["503"]["content"]["application/json"]["schema"]["$ref"]
          .GetString(),
      "#/components/schemas/Health");
}

}  // namespace
}  // namespace csb::http
