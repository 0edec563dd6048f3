// SPDX-License-Identifier: Apache-2.0
//
// The agent finds its hosts: sockets that come, go, refuse and hang up.
#include "agent/channel/dialer.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>

#include "agent/testing/agent_under_test.h"

namespace csb::agent::testing {
namespace {

class Listener {
 public:
  explicit Listener(std::string path, bool listening = true) : path_(std::move(path)) {
    socket_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    if (listening) Listen();
  }
  ~Listener() { unlink(path_.c_str()); }
  void Listen() { EXPECT_EQ(listen(socket_.get(), 8), 0); }
  std::optional<HostEnd> Accept(int timeout_ms = 10'000) {
    pollfd fd{socket_.get(), POLLIN, 0};
    if (poll(&fd, 1, timeout_ms) <= 0) return std::nullopt;
    HostEnd host(Fd(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    host.Greet();
    return host;
  }

 private:
  std::string path_;
  Fd socket_;
};

TEST(Dialer, ServesSeveralHostsThatComeAndGo) {
  AgentUnderTest agent({.separate = false, .control = true});
  Listener first(agent.control() + "/a.sock");
  auto a = first.Accept();
  ASSERT_TRUE(a);
  Listener second(agent.control() + "/b.sock");
  auto b = second.Accept();
  ASSERT_TRUE(b);
  EXPECT_EQ(*json::GetString(a->hello(), "boot_id"), *json::GetString(b->hello(), "boot_id"));
  EXPECT_EQ(a->Run("shell", R"({"command":"echo a"})").out, "a\n");
  // A host that leaves takes only its own operations along.
  const uint32_t running =
      b->Open({.op = "shell", .args = R"({"command":"read x; echo $x"})", .input = "on\n"});
  a->Open({.op = "shell", .args = R"({"command":"sleep 81818.5"})"});
  while (ProcessesWith("81818.5").empty()) usleep(1000);
  a->Close();
  EXPECT_EQ(b->Wait(running).out, "on\n");
  for (int i = 0; i < 5000 && !ProcessesWith("81818.5").empty(); ++i) usleep(1000);
  EXPECT_TRUE(ProcessesWith("81818.5").empty());
  // It finds the agent again through the same socket.
  auto again = first.Accept();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->Run("shell", R"({"command":"echo again"})").out, "again\n");
}

TEST(Dialer, ServesTheHostsOfTwoFolders) {
  char name[] = "/tmp/dialer_test-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string bridges = std::string(name) + "/b";
  {
    AgentUnderTest agent({.separate = false, .control = true, .more = {"--bridges", bridges}});
    for (int i = 0; i < 5000 && !std::filesystem::exists(bridges); ++i) usleep(1000);
    struct stat info {};
    ASSERT_EQ(stat(bridges.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode, S_IFDIR | 0700u);
    // Of one name, and still two.
    Listener near(agent.control() + "/a.sock");
    Listener far(bridges + "/a.sock");
    auto first = near.Accept();
    auto second = far.Accept();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->Run("shell", R"({"command":"echo near"})").out, "near\n");
    EXPECT_EQ(second->Run("shell", R"({"command":"echo far"})").out, "far\n");
    second->Close();
    auto again = far.Accept();
    ASSERT_TRUE(again);
    EXPECT_FALSE(near.Accept(300));
    EXPECT_EQ(first->Run("shell", R"({"command":"echo near"})").out, "near\n");
  }
  std::filesystem::remove_all(name);
}

TEST(Dialer, TriesAgainASocketThatDoesNotListenYet) {
  AgentUnderTest agent({.separate = false, .control = true});
  Listener late(agent.control() + "/late.sock", false);
  usleep(30'000);
  late.Listen();
  EXPECT_TRUE(late.Accept());
}

TEST(Dialer, TriesAgainWhenTheFolderChanges) {
  AgentUnderTest agent({.separate = false, .control = true});
  Listener late(agent.control() + "/late.sock", false);
  usleep(2'000'000);  // past the attempts that follow its appearance
  late.Listen();
  EXPECT_FALSE(late.Accept(300));
  Listener other(agent.control() + "/other.sock");
  EXPECT_TRUE(late.Accept());
  EXPECT_TRUE(other.Accept());
}

TEST(Dialer, IgnoresOtherFiles) {
  AgentUnderTest agent({.separate = false, .control = true});
  Listener other(agent.control() + "/a.tmp");
  EXPECT_FALSE(other.Accept(300));
}

TEST(Dialer, AHostThatDoesNotReadHoldsUpNobodyElse) {
  AgentUnderTest agent({.separate = false, .control = true});
  Listener first(agent.control() + "/a.sock");
  Listener second(agent.control() + "/b.sock");
  auto deaf = first.Accept();
  auto lively = second.Accept();
  ASSERT_TRUE(deaf && lively);
  deaf->Open({.op = "shell", .args = R"({"command":"yes"})", .credit = 1'000'000'000});
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(lively->Run("shell", R"({"command":"head -c 300000 /dev/zero"})").out.size(), 300000u);
}

TEST(Dialer, EndsWhenNobodyIsConnectedForTheIdleTimeout) {
  AgentUnderTest agent({.separate = false, .control = true, .more = {"--idle-timeout", "0.5"}});
  {
    Listener host(agent.control() + "/a.sock");
    auto channel = host.Accept();
    ASSERT_TRUE(channel);
    usleep(800'000);
    // Connected is not idle, whatever the host does.
    EXPECT_EQ(channel->Run("shell", R"({"command":"echo here"})").out, "here\n");
  }
  const int64_t left = NowNs();
  EXPECT_EQ(agent.WaitForExit(), 0);
  EXPECT_GE(NowNs() - left, 400 * kMs);
}

TEST(Dialer, SigpwrEndsTheAgentAsLxcSendsIt) {
  AgentUnderTest agent({.separate = false, .control = true});
  Listener host(agent.control() + "/a.sock");
  ASSERT_TRUE(host.Accept());
  kill(agent.pid(), SIGPWR);
  EXPECT_EQ(agent.WaitForExit(), 0);
}

TEST(Dialer, SigtermEndsTheAgent) {
  AgentUnderTest agent({.separate = false, .control = true});
  Listener host(agent.control() + "/a.sock");
  auto channel = host.Accept();
  ASSERT_TRUE(channel);
  const uint32_t stream =
      channel->Open({.op = "shell", .args = R"({"command":"trap '' TERM; sleep 82828.5"})"});
  while (ProcessesWith("82828.5").size() < 2) usleep(1000);
  kill(agent.pid(), SIGTERM);
  EXPECT_EQ(channel->Wait(stream).result_text("cause"), "cancelled");
  EXPECT_EQ(agent.WaitForExit(), 0);
  EXPECT_TRUE(ProcessesWith("82828.5").empty());
}

}  // namespace
}  // namespace csb::agent::testing
