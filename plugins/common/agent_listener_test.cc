// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/agent_listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <future>

#include "plugins/common/agent_channel_testing.h"

namespace csb::testing {
namespace {

class ListenerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/listener-test-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    reactor_ = *Reactor::Create("test");
  }
  void TearDown() override {
    listener_.reset();
    reactor_.reset();
    EXPECT_EQ(::rmdir(folder_.c_str()), 0) << "something stays behind";
  }
  // By a short relative name, as an agent would; sun_path is short.
  UniqueFd Dial(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
    return fd;
  }

  std::string folder_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<AgentListener> listener_;
};

TEST_F(ListenerTest, YieldsThePeerThatIsAccepted) {
  Eventually<int> connected;
  UniqueFd host_end;
  AgentPeer seen{};
  const std::string path = folder_ + "/host.sock";
  listener_ = *AgentListener::Create(
      *reactor_, path,
      [&](const AgentPeer& peer) {
        seen = peer;
        return true;
      },
      [&](UniqueFd fd) {
        host_end = std::move(fd);
        connected.Set(1);
      });
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0666u);
  UniqueFd agent = Dial(path);
  ASSERT_TRUE(agent);
  ASSERT_TRUE(connected.Wait());
  EXPECT_EQ(seen.pid, ::getpid());
  EXPECT_EQ(seen.uid, ::getuid());
}

TEST_F(ListenerTest, OthersAreClosedUnreadAndAFloodOfThemDoesNotLockOutTheAgent) {
  std::atomic<bool> accept = false;
  Eventually<int> connected;
  listener_ = *AgentListener::Create(
      *reactor_, folder_ + "/host.sock", [&](const AgentPeer&) { return accept.load(); },
      [&](UniqueFd) { connected.Set(1); });
  for (int i = 0; i < 20; ++i) {
    UniqueFd agent = Dial(folder_ + "/host.sock");
    ASSERT_TRUE(agent);
    char byte;
    EXPECT_EQ(::recv(agent.get(), &byte, 1, 0), 0);
  }
  accept = true;
  UniqueFd agent = Dial(folder_ + "/host.sock");
  EXPECT_TRUE(connected.Wait());
}

TEST_F(ListenerTest, ReplacesAStaleSocketAndRemovesItsOwn) {
  const std::string path = folder_ + "/host.sock";
  for (int i = 0; i < 2; ++i) {
    auto listener = AgentListener::Create(
        *reactor_, path, [](const AgentPeer&) { return true; }, [](UniqueFd) {});
    ASSERT_TRUE(listener) << listener.error().message;
    if (i == 0) {
      // As a host that was killed leaves it.
      ASSERT_EQ(::rename(path.c_str(), (path + "x").c_str()), 0);
      listener->reset();
      ASSERT_EQ(::rename((path + "x").c_str(), path.c_str()), 0);
    }
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST_F(ListenerTest, LongPathsWork) {
  const std::string deep = folder_ + "/" + std::string(150, 'd');
  ASSERT_EQ(::mkdir(deep.c_str(), 0755), 0);
  auto listener = AgentListener::Create(
      *reactor_, deep + "/host.sock", [](const AgentPeer&) { return true; }, [](UniqueFd) {});
  EXPECT_TRUE(listener);
  EXPECT_EQ(::access((deep + "/host.sock").c_str(), F_OK), 0);
  listener->reset();
  EXPECT_EQ(::rmdir(deep.c_str()), 0);
}

TEST_F(ListenerTest, MissingFolderIsNamed) {
  auto listener = AgentListener::Create(
      *reactor_, folder_ + "/none/host.sock", [](const AgentPeer&) { return true; }, [](UniqueFd) {});
  ASSERT_FALSE(listener);
  EXPECT_THAT(listener.error().message, ::testing::HasSubstr(folder_ + "/none"));
}

}  // namespace
}  // namespace csb::testing
