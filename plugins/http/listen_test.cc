// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/listen.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace csb::http {
namespace {

// A socket of this family and type, bound, and listening where it can.
class Socket {
 public:
  explicit Socket(const char* address, int type = SOCK_STREAM, bool listens = true) {
    sockaddr_storage raw{};
    socklen_t size = 0;
    if (*address == '/' || *address == '@') {
      auto& local = reinterpret_cast<sockaddr_un&>(raw);
      local.sun_family = AF_UNIX;
      std::strcpy(local.sun_path, address);
      if (*address == '@') local.sun_path[0] = 0;
      size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(address));
    } else if (std::strchr(address, ':') != nullptr) {
      auto& six = reinterpret_cast<sockaddr_in6&>(raw);
      six.sin6_family = AF_INET6;
      inet_pton(AF_INET6, address, &six.sin6_addr);
      size = sizeof six;
    } else {
      auto& four = reinterpret_cast<sockaddr_in&>(raw);
      four.sin_family = AF_INET;
      inet_pton(AF_INET, address, &four.sin_addr);
      size = sizeof four;
    }
    fd = socket(raw.ss_family, type | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&raw), size), 0) << address;
    EXPECT_TRUE(!listens || listen(fd, 8) == 0);
  }
  ~Socket() { close(fd); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  std::string number() const { return std::to_string(fd); }

  int fd;
};

std::string Refusal(const std::vector<std::string>& numbers, bool has_key) {
  auto sockets = SocketsToListenOn(numbers, has_key);
  return sockets ? "" : sockets.error().message;
}

TEST(SocketsToListenOn, AKeyIsNeededByTheAddressThatTheSocketHas) {
  const Socket everywhere("0.0.0.0"), loopback("127.0.0.1"), everywhere6("::"), mapped("::ffff:127.0.0.1"),
      local("@csb-listen-test");
  EXPECT_NE(Refusal({everywhere.number()}, false).find("without an API key"), std::string::npos);
  EXPECT_NE(Refusal({everywhere6.number()}, false).find("without an API key"), std::string::npos);
  EXPECT_NE(Refusal({loopback.number(), everywhere.number()}, false), "");
  EXPECT_EQ(Refusal({loopback.number(), mapped.number(), local.number()}, false), "");
  EXPECT_EQ(Refusal({everywhere.number(), everywhere6.number()}, true), "");
  auto both = SocketsToListenOn({loopback.number(), local.number()}, true);
  ASSERT_TRUE(both);
  EXPECT_EQ(*both, (std::vector{loopback.fd, local.fd}));
}

TEST(SocketsToListenOn, RefusesWhatDoesNotListen) {
  const Socket datagrams("127.0.0.1", SOCK_DGRAM, false), bound("127.0.0.1", SOCK_STREAM, false),
      packets("@csb-listen-test-packets", SOCK_SEQPACKET);
  for (const std::string& number :
       {datagrams.number(), bound.number(), packets.number(), std::string("9999"), std::string("-1"),
        std::string("3x"), std::string("http"), std::string("0x3")})
    EXPECT_NE(Refusal({number}, true).find("no listening stream socket"), std::string::npos) << number;
}

TEST(NameOfSocket, IsAnAddress) {
  const Socket loopback("127.0.0.1"), local("@csb-listen-test-name");
  EXPECT_EQ(NameOfSocket(loopback.fd, false).rfind("http://127.0.0.1:", 0), 0u);
  EXPECT_EQ(NameOfSocket(loopback.fd, true).rfind("https://127.0.0.1:", 0), 0u);
  EXPECT_EQ(NameOfSocket(local.fd, false), "unix:@csb-listen-test-name");
}

}  // namespace
}  // namespace csb::http
