// SPDX-License-Identifier: Apache-2.0
#include "host/commands/listening.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

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
    {kSize, CSB_OPTION_STRING, "web.listen_fds", nullptr, nullptr, "", nullptr, 0, 0},
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

int Bound(const char* address) {
  const bool v6 = std::string_view(address).find(':') != std::string_view::npos;
  const int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in four{};
  four.sin_family = AF_INET;
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  inet_pton(v6 ? AF_INET6 : AF_INET, address, v6 ? static_cast<void*>(&six.sin6_addr) : &four.sin_addr);
  EXPECT_EQ(v6 ? bind(fd, reinterpret_cast<sockaddr*>(&six), sizeof six)
               : bind(fd, reinterpret_cast<sockaddr*>(&four), sizeof four),
            0);
  return fd;
}

TEST(ListensPublicly, JudgesInheritedSocketsByTheirAddress) {
  const auto inherited = [](int fd) {
    // The keys for an address of one's own say nothing about a socket that was opened by another.
    const bool is = Public({{"web.listen_fds", std::to_string(fd)}, {"web.host", "127.0.0.1"}});
    EXPECT_EQ(is, Public({{"web.listen_fds", std::to_string(fd)}, {"web.host", "0.0.0.0"}}));
    close(fd);
    return is;
  };
  EXPECT_TRUE(inherited(Bound("0.0.0.0")));
  EXPECT_FALSE(inherited(Bound("127.0.0.1")));
  EXPECT_TRUE(inherited(Bound("::ffff:0.0.0.0")));
  EXPECT_FALSE(inherited(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  EXPECT_TRUE(Public({{"web.listen_fds", "9999"}})) << "what is no socket is not trusted";
}

TEST(GiveSockets, GoesByNameElseToTheFirstThatTakesOne) {
  Schema schema;
  EXPECT_TRUE(schema.Add("web", kWeb));
  constexpr csb_option kOther[] = {
      {kSize, CSB_OPTION_STRING, "other.listen_fds", nullptr, nullptr, "", nullptr, 0, 0}};
  EXPECT_TRUE(schema.Add("other", kOther));
  auto config = Config::Load(schema, {});
  ASSERT_TRUE(config);
  EXPECT_TRUE(GiveSockets({{3, "clara-sandbox.socket"}, {4, "other"}, {5, "web"}}, {"quiet", "web", "other"},
                          schema, &*config));
  EXPECT_EQ(config->Text("web.listen_fds"), "3 5");
  EXPECT_EQ(config->Text("other.listen_fds"), "4");
  EXPECT_FALSE(GiveSockets({{3, ""}}, {"quiet"}, schema, &*config));
  EXPECT_TRUE(GiveSockets({}, {"quiet"}, schema, &*config));
}

}  // namespace
}  // namespace csb::host
