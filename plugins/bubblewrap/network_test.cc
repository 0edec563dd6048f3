// SPDX-License-Identifier: Apache-2.0
//
// Each kind of network, from inside. Nothing leaves this machine.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "plugins/bubblewrap/backend_fixture.h"

namespace csb::bwrap {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A listener of the host on its loopback, as a database or an engine's API would be.
class LoopbackService {
 public:
  LoopbackService() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(fd_.get(), 8), 0);
    EXPECT_EQ(getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  int port() const { return port_; }

 private:
  UniqueFd fd_;
  int port_ = 0;
};

class NetworkTest : public BackendTest {
 protected:
  // "connected", or the error's name.
  std::string Connect(const std::string& address, int port) {
    const std::string script = "import socket,errno\ns=socket.socket(socket.AF_INET" +
                               std::string(address.find(':') == std::string::npos ? "" : "6") +
                               ")\ns.settimeout(2)\ntry:\n s.connect(('" + address + "'," +
                               std::to_string(port) +
                               "))\n print('connected',end='')\nexcept OSError as e: "
                               "print(errno.errorcode.get(e.errno,'TIMEOUT'),end='')";
    return Shell("/usr/bin/python3 -c \"" + script + "\"").out;
  }
};

TEST_F(NetworkTest, NoneReachesNothing) {
  const LoopbackService service;
  Start();
  Create();
  EXPECT_EQ(Connect("127.0.0.1", service.port()), "ECONNREFUSED");
  EXPECT_EQ(Connect("198.51.100.1", 80), "ENETUNREACH");
  EXPECT_EQ(Connect("169.254.169.254", 80), "ENETUNREACH");
  EXPECT_EQ(Shell("ls /sys/class/net 2>/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1").out, "    lo\n");
}

TEST_F(NetworkTest, HostSharesTheHostsOwn) {
  const LoopbackService service;
  Start({{"bubblewrap.network", "host"}});
  Create();
  EXPECT_EQ(Connect("127.0.0.1", service.port()), "connected");
  EXPECT_THAT(Call(CSB_OP_STATUS).result, HasSubstr("the host's network is shared"));
}

TEST_F(NetworkTest, PastaReachesPublicAddressesOnly) {
  CSB_NEED_ROOT();
  if (access("/usr/bin/pasta", X_OK) != 0) GTEST_SKIP() << "passt is not installed";
  const auto routes = ReadSmallFile("/proc/net/route");
  if (!routes || routes->find("\t00000000\t") == std::string::npos) GTEST_SKIP() << "no default route here";
  const LoopbackService service;
  Start({{"bubblewrap.network", "pasta"}});
  Create();
  EXPECT_THAT(Shell("tail -n +3 /proc/net/dev | cut -d: -f1 | grep -vc lo").out, "1\n");
  for (const char* address : {"10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.100.100.200"})
    EXPECT_EQ(Connect(address, 80), "EHOSTUNREACH") << address;
  EXPECT_EQ(Connect("fd00::1", 80).substr(0, 1), "E");
  EXPECT_EQ(Connect("127.0.0.1", service.port()), "ECONNREFUSED");
  EXPECT_THAT(Shell("cat /etc/resolv.conf").out, HasSubstr("198.51.100.53"));
  // User code can't take the routes away.
  EXPECT_THAT(Shell("ip route del unreachable 10.0.0.0/8 2>&1; ip link set lo down 2>&1").out,
              ::testing::AnyOf(HasSubstr("not permitted"), HasSubstr("not found")));
  const LiveRecord live = Live();
  EXPECT_TRUE(OpenSame(live.pasta));
  Call(CSB_OP_STOP);
  EXPECT_FALSE(OpenSame(live.pasta));
  ExpectNothingLeft(live);
}

}  // namespace
}  // namespace csb::bwrap
