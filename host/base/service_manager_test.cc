// SPDX-License-Identifier: Apache-2.0
#include "host/base/service_manager.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace csb::host {
namespace {

// The manager's end: a datagram socket with a name.
class Manager {
 public:
  explicit Manager(bool abstract) {
    fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name_ = (abstract ? "@csb-test-" : "/tmp/csb-test-notify-") + std::to_string(getpid());
    name_.copy(address.sun_path, sizeof address.sun_path - 1);
    socklen_t size = sizeof address;
    if (abstract) {
      address.sun_path[0] = 0;
      size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
    } else {
      unlink(name_.c_str());
    }
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), size), 0);
  }
  ~Manager() {
    close(fd_);
    if (name_[0] == '/') unlink(name_.c_str());
  }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  const std::string& name() const { return name_; }
  std::string Heard() const {
    std::array<char, 256> text;
    const ssize_t n = recv(fd_, text.data(), text.size(), MSG_DONTWAIT);
    return n < 0 ? "" : std::string(text.data(), static_cast<size_t>(n));
  }

 private:
  int fd_;
  std::string name_;
};

class ServiceManagerTest : public testing::Test {
 protected:
  ~ServiceManagerTest() override { Forget(); }
  static void Forget() {
    for (const char* name :
         {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
      unsetenv(name);
  }
  static void Say(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }
  static std::string Us() { return std::to_string(getpid()); }
};

TEST_F(ServiceManagerTest, SpeaksToPathsAndAbstractNames) {
  for (const bool abstract : {false, true}) {
    const Manager listener(abstract);
    Say("NOTIFY_SOCKET", listener.name());
    const ServiceManager manager = ServiceManager::Take();
    ASSERT_TRUE(manager.present());
    EXPECT_TRUE(manager.Notify("READY=1\nSTATUS=x"));
    EXPECT_EQ(listener.Heard(), "READY=1\nSTATUS=x");
    manager.NotifyAtOnce("WATCHDOG=1");
    EXPECT_EQ(listener.Heard(), "WATCHDOG=1");
    EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr);
  }
}

TEST_F(ServiceManagerTest, WithoutAManagerNothingHappens) {
  for (const char* name : {"", "relative", "vsock:2:1234", "/"}) {
    Say("NOTIFY_SOCKET", name);
    Say("WATCHDOG_USEC", "1000");
    const ServiceManager manager = ServiceManager::Take();
    EXPECT_FALSE(manager.present()) << name;
    EXPECT_FALSE(manager.watchdog()) << name;
    EXPECT_TRUE(manager.Notify("READY=1"));
    manager.NotifyAtOnce("WATCHDOG=1");
  }
}

TEST_F(ServiceManagerTest, AManagerThatIsGoneIsAnError) {
  Say("NOTIFY_SOCKET", "/nonexistent/notify");
  EXPECT_FALSE(ServiceManager::Take().Notify("READY=1"));
}

TEST_F(ServiceManagerTest, TheWatchdogIsThatOfThisProcess) {
  const Manager listener(true);
  const auto interval = [&](const std::string& usec, const std::string& pid) {
    Say("NOTIFY_SOCKET", listener.name());
    Say("WATCHDOG_USEC", usec);
    if (!pid.empty()) Say("WATCHDOG_PID", pid);
    const auto found = ServiceManager::Take().watchdog();
    EXPECT_EQ(std::getenv("WATCHDOG_USEC"), nullptr);
    return found ? found->count() : 0;
  };
  EXPECT_EQ(interval("30000000", ""), 30000000);
  EXPECT_EQ(interval("30000000", Us()), 30000000);
  EXPECT_EQ(interval("30000000", "1"), 0);
  EXPECT_EQ(interval("0", ""), 0);
  EXPECT_EQ(interval("soon", ""), 0);
}

TEST_F(ServiceManagerTest, TakesTheSocketsOfThisProcessOnly) {
  // Under a test runner 3 and 4 may be anything: they are kept aside.
  const int aside[] = {fcntl(3, F_DUPFD_CLOEXEC, 10), fcntl(4, F_DUPFD_CLOEXEC, 10)};
  const int made = socket(AF_UNIX, SOCK_STREAM, 0);
  const int high = fcntl(made, F_DUPFD, 20);
  if (made != 3 && made != 4) close(made);
  ASSERT_EQ(dup2(high, 3), 3);
  close(4);
  Say("LISTEN_PID", "1");
  Say("LISTEN_FDS", "1");
  EXPECT_TRUE(ServiceManager::Take().sockets().empty());
  EXPECT_EQ(std::getenv("LISTEN_FDS"), nullptr);
  EXPECT_EQ(fcntl(3, F_GETFD), 0) << "what is not ours is not touched";
  Say("LISTEN_PID", Us());
  Say("LISTEN_FDS", "2");  // and 4 is not open
  Say("LISTEN_FDNAMES", "http:other");
  const auto sockets = ServiceManager::Take().sockets();
  ASSERT_EQ(sockets.size(), 1u);
  EXPECT_EQ(sockets[0].fd, 3);
  EXPECT_EQ(sockets[0].name, "http");
  EXPECT_EQ(fcntl(3, F_GETFD), FD_CLOEXEC);
  for (const char* wrong : {"-1", "4000000000", "two"}) {
    Say("LISTEN_PID", Us());
    Say("LISTEN_FDS", wrong);
    EXPECT_TRUE(ServiceManager::Take().sockets().empty()) << wrong;
  }
  close(high);
  for (const int i : {0, 1}) {
    if (aside[i] < 0) {
      close(3 + i);
      continue;
    }
    dup2(aside[i], 3 + i);
    close(aside[i]);
  }
}

}  // namespace
}  // namespace csb::host
