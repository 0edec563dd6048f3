// SPDX-License-Identifier: Apache-2.0
#include "agent/setup/network.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/route.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>

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

Ipv4Setup Ipv4(const char* address, const char* gateway, const char* nameserver) {
  Ipv4Setup setup;
  EXPECT_TRUE(ReadIpv4Option("--address", address, setup));
  EXPECT_TRUE(ReadIpv4Option("--gateway", gateway, setup));
  EXPECT_TRUE(ReadIpv4Option("--nameserver", nameserver, setup));
  EXPECT_TRUE(CheckIpv4(setup));
  return setup;
}

std::string Contents(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A pair of interfaces: eth0, and its other end.
bool MakeEth0() { return system("ip link add eth0 type veth peer name other && ip link set other up") == 0; }

std::string Shown(const char* command) {
  FILE* pipe = popen(command, "re");
  std::string out;
  for (int c; pipe != nullptr && (c = fgetc(pipe)) != EOF;) out.push_back(static_cast<char>(c));
  if (pipe != nullptr) pclose(pipe);
  return out;
}
bool Has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

TEST(Network, GivesAnAddressAWayOutAndNoIpv6) {
  const int code = InOwnNetwork([] {
    if (!BringUpLoopback() || !MakeEth0()) return 77;
    const Ipv4Setup setup = Ipv4("10.84.3.17/24", "10.84.3.1", "10.84.3.1");
    if (Reach("192.0.2.1") != ENETUNREACH) return 1;
    for (int again = 0; again < 2; ++again)  // a second time is no error
      if (auto done = SetUpIpv4(setup); !done) {
        fprintf(stderr, "%s\n", done.error().message.c_str());
        return 2;
      }
    const std::string shown = Shown("ip addr show dev eth0; ip route");
    if (!Has(shown, "inet 10.84.3.17/24") || !Has(shown, "default via 10.84.3.1 dev eth0") ||
        !Has(shown, "UP"))
      return 3;
    if (Has(shown, "inet6")) return 4;
    if (std::ifstream("/proc/sys/net/ipv6/conf/eth0/disable_ipv6") &&
        Contents("/proc/sys/net/ipv6/conf/eth0/disable_ipv6") != "1\n")
      return 5;
    return Reach("192.0.2.1") == 0 && Reach("10.84.3.99") == 0 ? 0 : 6;
  });
  if (code == 77) GTEST_SKIP() << "no right to make a network namespace, or no veth";
  EXPECT_EQ(code, 0);
}

TEST(Network, ABlockLeavesGatewayAndNameServer) {
  const int code = InOwnNetwork([] {
    if (!BringUpLoopback() || !MakeEth0()) return 77;
    const Ipv4Setup setup = Ipv4("10.84.3.17/24", "10.84.3.1", "10.84.3.2");
    const auto ranges = ParseRanges("10.0.0.0/8,169.254.0.0/16");
    if (!SetUpIpv4(setup) || !BlockRanges(*ranges) || !KeepReachable(setup, *ranges)) return 1;
    if (Reach("10.84.3.1") != 0 || Reach("10.84.3.2") != 0) return 2;
    if (Reach("10.84.3.3") != EHOSTUNREACH || Reach("10.1.2.3") != EHOSTUNREACH) return 3;
    if (Reach("169.254.169.254") != EHOSTUNREACH || Reach("192.0.2.1") != 0) return 4;
    // One that stands in a blocked range, but in no network of ours, stays blocked.
    const Ipv4Setup elsewhere = Ipv4("10.84.3.17/24", "10.84.3.1", "10.9.9.9");
    if (!KeepReachable(elsewhere, *ranges)) return 5;
    return Reach("10.9.9.9") == EHOSTUNREACH ? 0 : 6;
  });
  if (code == 77) GTEST_SKIP() << "no right to make a network namespace, or no veth";
  EXPECT_EQ(code, 0);
}

TEST(Network, WithoutAnInterfaceThereIsAnError) {
  const int code = InOwnNetwork([] {
    const auto done = SetUpIpv4(Ipv4("10.84.3.17/24", "10.84.3.1", "10.84.3.1"));
    return !done && Has(done.error().message, "no eth0") ? 0 : 1;
  });
  if (code == 77) GTEST_SKIP() << "no right to make a network namespace";
  EXPECT_EQ(code, 0);
}

TEST(Network, ANameServerReplacesWhateverIsThere) {
  char folder[] = "/tmp/csb-resolv-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/resolv.conf", target = std::string(folder) + "/target";
  const Ipv4Setup setup = Ipv4("10.84.3.17/24", "10.84.3.1", "10.84.3.1");
  const std::string wanted = "nameserver 10.84.3.1\n";
  const auto written = [&] {
    WriteNameServer(path, setup);
    struct stat info;
    EXPECT_EQ(lstat(path.c_str(), &info), 0);
    EXPECT_TRUE(S_ISREG(info.st_mode));
    EXPECT_EQ(info.st_mode & 07777, 0644u);
    EXPECT_EQ(Contents(path), wanted);
    unlink(path.c_str());
  };
  written();  // nothing
  std::ofstream(path) << "nameserver 127.0.0.53\nsearch lan\n";
  written();
  ASSERT_EQ(symlink("../run/systemd/resolve/stub-resolv.conf", path.c_str()), 0);  // leads nowhere
  written();
  std::ofstream(target) << "kept";
  ASSERT_EQ(symlink(target.c_str(), path.c_str()), 0);
  ASSERT_EQ(symlink(target.c_str(), (path + ".clara-sandbox").c_str()), 0);
  written();
  EXPECT_EQ(Contents(target), "kept");
  std::ofstream(path) << "as it was";
  WriteNameServer(path, Ipv4Setup{});  // none is given
  EXPECT_EQ(Contents(path), "as it was");
  unlink(path.c_str());
  unlink(target.c_str());
  EXPECT_EQ(rmdir(folder), 0) << "nothing else is left";
}

}  // namespace
}  // namespace csb::agent
