// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/network.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/route.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "agent/base/fd.h"

namespace csb::agent {
namespace {

TEST(Network, ParsesRanges) {
  const auto ranges = ParseRanges("10.0.0.0/8,169.254.169.254/32,fc00::/7,::/0");
  ASSERT_TRUE(ranges);
  ASSERT_EQ(ranges->size(), 4u);
  EXPECT_EQ((*ranges)[0].prefix, 8);
  EXPECT_EQ((*ranges)[2].family, AF_INET6);
  for (const char* wrong : {"10.0.0.0", "10.0.0.0/33", "10.0.0.1/8", "fc00::/129", "x/8", "10.0.0.0/",
                            "10.0.0.0/-1", "10.0.0.0/8x", "/8", "10.0.0.0/8 ,1.1.1.1/32"})
    EXPECT_FALSE(ParseRanges(wrong)) << wrong;
}

TEST(Network, KnowsWhichRangeLiesInWhich) {
  const auto r = *ParseRanges("172.16.0.0/12,172.20.1.0/24,172.32.0.0/24,172.0.0.0/8,fc00::/7,fd00::/64");
  EXPECT_TRUE(Contains(r[0], r[1]));
  EXPECT_FALSE(Contains(r[0], r[2]));
  EXPECT_FALSE(Contains(r[0], r[3]));
  EXPECT_TRUE(Contains(r[0], r[0]));
  EXPECT_TRUE(Contains(r[4], r[5]));
  EXPECT_FALSE(Contains(r[0], r[4]));
}

// Runs `work` in a network namespace of its own; its exit code.
int InOwnNetwork(const std::function<int()>& work) {
  const pid_t pid = fork();
  if (pid == 0) _exit(unshare(CLONE_NEWNET) < 0 ? 77 : work());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

sockaddr_in Address(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(9);
  inet_pton(AF_INET, text, &address.sin_addr);
  return address;
}

// 0 or the errno of a connected UDP socket, which asks the routes and sends nothing.
int Reach(const char* text) {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in to = Address(text);
  return connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 ? 0 : errno;
}

bool AddRoute(const char* network, const char* mask) {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  rtentry route{};
  const sockaddr_in to = Address(network);
  const sockaddr_in bits = Address(mask);
  std::memcpy(&route.rt_dst, &to, sizeof to);
  std::memcpy(&route.rt_genmask, &bits, sizeof bits);
  char device[] = "lo";
  route.rt_dev = device;
  route.rt_flags = RTF_UP;
  return ioctl(socket.get(), SIOCADDRT, &route) == 0;
}

TEST(Network, BlocksRangesWholeAlsoWhereANarrowerRouteExists) {
  const int code = InOwnNetwork([] {
    if (!BringUpLoopback() || !BringUpLoopback()) return 1;
    // A default route and a narrow one inside the range to block, as a network of 10.1.0.0/16 has them.
    if (!AddRoute("0.0.0.0", "0.0.0.0") || !AddRoute("10.1.0.0", "255.255.0.0")) return 2;
    if (Reach("10.1.2.3") != 0 || Reach("169.254.169.254") != 0 || Reach("192.0.2.1") != 0) return 3;
    const auto ranges = ParseRanges("10.0.0.0/8,169.254.0.0/16,fe80::/10,fc00::/7");
    const auto blocked = BlockRanges(*ranges);
    if (!blocked) {
      fprintf(stderr, "%s\n", blocked.error().message.c_str());
      return 4;
    }
    if (Reach("10.1.2.3") != EHOSTUNREACH || Reach("10.200.0.1") != EHOSTUNREACH) return 5;
    if (Reach("169.254.169.254") != EHOSTUNREACH) return 6;
    if (Reach("192.0.2.1") != 0) return 7;
    const auto before = UnreachableRanges();
    if (!BlockRanges(*ranges)) return 8;  // again is no error
    const auto after = UnreachableRanges();
    if (!before || !after || before->size() != ranges->size() || after->size() != ranges->size()) return 9;
    return ToText(after->front()) == "10.0.0.0/8" ? 0 : 10;
  });
  if (code == 77) GTEST_SKIP() << "no right to make a network namespace";
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace csb::agent
