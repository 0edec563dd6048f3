// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace csb::http {
namespace {

using ::testing::ElementsAre;

TEST(Target, SplitsThePathAndDecodesEachSegmentOnce) {
  EXPECT_THAT(ParseTarget("/sandbox/a%2Fb/create")->segments, ElementsAre("sandbox", "a/b", "create"));
  EXPECT_THAT(ParseTarget("/sandbox/a%252Fb/create")->segments, ElementsAre("sandbox", "a%2Fb", "create"));
  EXPECT_THAT(ParseTarget("/sandbox/../create")->segments, ElementsAre("sandbox", "..", "create"));
  EXPECT_THAT(ParseTarget("/sandbox//create")->segments, ElementsAre("sandbox", "", "create"));
  EXPECT_THAT(ParseTarget("/sandbox/a+b/x")->segments, ElementsAre("sandbox", "a+b", "x"));
  EXPECT_THAT(ParseTarget("/")->segments, ElementsAre());
  EXPECT_THAT(ParseTarget("/health/")->segments, ElementsAre("health", ""));
}

TEST(Target, DecodesTheQueryAsFormsDo) {
  auto target = ParseTarget("/f?path=/w%C3%A4/a+b%2Bc&purge&x=1&x=2&&=v");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->Get("path"), "/w\xC3\xA4/a b+c");
  EXPECT_EQ(target->Get("purge"), "");
  EXPECT_EQ(target->Get("nothing"), std::nullopt);
  EXPECT_TRUE(target->Repeated("x"));
  EXPECT_FALSE(target->Repeated("path"));
}

TEST(Target, RefusesWhatIsNotAnOriginForm) {
  for (const char* bad :
       {"", "*", "http://host/health", "health", "host:80", "/a#b", "/%", "/%2", "/%zz", "/x?p=%f"})
    EXPECT_EQ(ParseTarget(bad).error().code, CSB_E_BAD_REQUEST) << bad;
}

TEST(Target, BoundsWhatOneRequestCanMakeItBuild) {
  std::string many = "/x?";
  for (int i = 0; i < 100; ++i) many += "a=b&";
  EXPECT_FALSE(ParseTarget(many));
  EXPECT_FALSE(ParseTarget(std::string(4000, '/')));
}

}  // namespace
}  // namespace csb::http
