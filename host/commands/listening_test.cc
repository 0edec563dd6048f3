// SPDX-License-Identifier: Apache-2.0
#include "host/commands/listening.h"

#include <gtest/gtest.h>

namespace csb::host {
namespace {

TEST(IsLoopback, KnowsTheSpellings) {
  for (const char* address : {"localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"})
    EXPECT_TRUE(IsLoopback(address)) << address;
  for (const char* address :
       {"", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example.org", "::ffff:10.0.0.1", "fe80::1"})
    EXPECT_FALSE(IsLoopback(address)) << address;
}

constexpr uint32_t kSize = sizeof(csb_option);
constexpr csb_option kWeb[] = {
    {kSize, CSB_OPTION_STRING, "web.host", nullptr, nullptr, "", nullptr, 0, 0},
    {kSize, CSB_OPTION_SECRET, "web.api_key", nullptr, nullptr, "", nullptr, 0, 0},
};

bool Public(std::vector<std::pair<std::string, std::string>> line,
            std::vector<std::string> frontends = {"web"}) {
  Schema schema;
  EXPECT_TRUE(schema.Add("web", kWeb));
  auto config = Config::Load(schema, {.command_line = std::move(line)});
  EXPECT_TRUE(config);
  return ListensPublicly(*config, schema, frontends);
}

TEST(ListensPublicly, FollowsHostAndKey) {
  EXPECT_FALSE(Public({}));
  EXPECT_TRUE(Public({{"web.api_key", "k"}}));
  EXPECT_FALSE(Public({{"web.api_key", "k"}, {"web.host", "127.0.0.1"}}));
  EXPECT_TRUE(Public({{"web.host", "0.0.0.0"}}));
  EXPECT_FALSE(Public({{"web.host", "0.0.0.0"}}, {"stdio"}));
}

}  // namespace
}  // namespace csb::host
