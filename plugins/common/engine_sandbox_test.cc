// SPDX-License-Identifier: Apache-2.0
//
// Who is let in at a sandbox's socket. This process plays the init: the kernel says of its connections that
// they are its own.
#include "plugins/common/engine_sandbox.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "clara_sandbox/testing/fake_host.h"
#include "plugins/common/agent_channel_testing.h"
#include "plugins/common/temporary_folder.h"

namespace csb {
namespace {

using namespace std::chrono_literals;
using namespace csb::testing;  // NOLINT: a test

class EngineSandboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto reactor = Reactor::Create("test");
    ASSERT_TRUE(reactor);
    reactor_ = *std::move(reactor);
  }
  void TearDown() override {
    if (sandbox_) sandbox_->Detach();
    sandbox_.reset();
    reactor_.reset();
  }
  void Listen(EngineSandbox::IsInit is_init) {
    auto sandbox = EngineSandbox::Listen(host_.ref(), *reactor_, "alice", {.kind = "container"},
                                         folder_.path(), 0600, std::move(is_init));
    ASSERT_TRUE(sandbox) << sandbox.error().message;
    sandbox_ = *sandbox;
  }
  Status Begin(pid_t pid) {
    Live live;
    live.name = "alice";
    live.pid = pid;
    return sandbox_->Begin(std::move(live), nullptr, [this](const auto&, Loss loss) { lost_.Set(loss); });
  }
  sockaddr_un Address() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
      entry.path().string().copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
  }
  UniqueFd Connect() const {
    const sockaddr_un address = Address();
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  // Whether the other side closes it, unread.
  static bool Refused(const UniqueFd& fd) {
    pollfd poll_fd{fd.get(), POLLIN, 0};
    char byte;
    return ::poll(&poll_fd, 1, 20'000) == 1 && ::recv(fd.get(), &byte, 1, 0) <= 0;
  }

  FakeHost host_;
  const TemporaryFolder folder_;
  std::unique_ptr<Reactor> reactor_;
  std::shared_ptr<EngineSandbox> sandbox_;
  Eventually<Loss> lost_;
};

TEST_F(EngineSandboxTest, LetsInWhomTheEngineNamed) {
  Listen(nullptr);
  ASSERT_TRUE(Begin(getpid()));
  FakeAgent agent(Connect());
  agent.Hello();
  ASSERT_TRUE(sandbox_->WaitReady(20s));
  EXPECT_NE(sandbox_->channel(), nullptr);
  EXPECT_FALSE(sandbox_->Kill()) << "an engine that names the host itself is not obeyed";
  agent.Close();
  EXPECT_EQ(lost_.Wait(), Loss::kClosed);
}

TEST_F(EngineSandboxTest, RefusesAnybodyElse) {
  Listen(nullptr);
  ASSERT_TRUE(Begin(getppid()));
  EXPECT_TRUE(Refused(Connect()));
  EXPECT_FALSE(sandbox_->WaitReady(0ms));
}

TEST_F(EngineSandboxTest, WithoutAPidOrAnyoneToTellItNothingBegins) {
  Listen(nullptr);
  const Status begun = Begin(0);
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().message, "the container ended at once");
}

TEST_F(EngineSandboxTest, TakesTheFirstThatIsTheInit) {
  std::atomic<bool> is_init = false;
  Listen([&](pid_t pid) { return pid == getpid() && is_init; });
  ASSERT_TRUE(Begin(0));
  EXPECT_TRUE(Refused(Connect()));
  EXPECT_EQ(sandbox_->live().pid, 0);
  is_init = true;
  FakeAgent agent(Connect());
  agent.Hello();
  ASSERT_TRUE(sandbox_->WaitReady(20s));
  EXPECT_EQ(sandbox_->live().pid, getpid());
  EXPECT_TRUE(Refused(Connect())) << "one is enough";
}

TEST_F(EngineSandboxTest, WhoComesEarlyWaitsUntilItBegins) {
  std::atomic<int> asked = 0;
  Listen([&](pid_t pid) { return ++asked == 2 && pid == getpid(); });
  const UniqueFd stranger = Connect();
  FakeAgent agent(Connect());
  // The fifth is refused, and so those before it were taken.
  const UniqueFd third = Connect(), fourth = Connect();
  EXPECT_TRUE(Refused(Connect()));
  EXPECT_EQ(asked, 0) << "before it begins there is nothing to compare with";
  ASSERT_TRUE(Begin(0));
  agent.Hello();
  ASSERT_TRUE(sandbox_->WaitReady(20s));
  EXPECT_EQ(sandbox_->live().pid, getpid());
  EXPECT_TRUE(Refused(stranger));
  EXPECT_TRUE(Refused(third));
  EXPECT_EQ(asked, 2);
}

// The pid may be another's by then.
TEST_F(EngineSandboxTest, AnEarlyPeerThatHasEndedIsNotTheInit) {
  Listen([](pid_t) { return true; });
  const sockaddr_un address = Address();
  int connected[2];
  ASSERT_EQ(pipe2(connected, O_CLOEXEC), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) _exit(1);
    if (write(connected[1], "", 1) != 1) _exit(2);
    for (;;) pause();
  }
  char byte;
  ASSERT_EQ(read(connected[0], &byte, 1), 1);
  FakeAgent agent(Connect());
  const UniqueFd third = Connect(), fourth = Connect();
  EXPECT_TRUE(Refused(Connect())) << "those before were taken by then";
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  ASSERT_TRUE(Begin(0));
  agent.Hello();
  ASSERT_TRUE(sandbox_->WaitReady(20s));
  EXPECT_EQ(sandbox_->live().pid, getpid());
  for (const int fd : connected) close(fd);
}

// A stream whose other end is the test's.
struct Pair : ByteStream {
  UniqueFd ours;
  explicit Pair(UniqueFd fd) : ours(std::move(fd)) {}
  UniqueFd TakeSocket() override { return std::move(ours); }
  std::string Complaints() const override { return {}; }
};

TEST_F(EngineSandboxTest, SeesTheInitBehindAStreamEnd) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
  sandbox_ = EngineSandbox::ForStream(host_.ref(), *reactor_, "alice", {.kind = "container"});
  FakeAgent agent{UniqueFd(pair[1])};
  Live live;
  live.channel = ChannelKind::kExec;
  ASSERT_TRUE(sandbox_->Begin(live, std::make_unique<Pair>(UniqueFd(pair[0])),
                              [this](const auto&, Loss loss) { lost_.Set(loss); }));
  agent.Hello();
  ASSERT_TRUE(sandbox_->WaitReady(20s));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0)
    for (;;) pause();
  sandbox_->SeeInit(child, [](pid_t) { return false; });
  EXPECT_FALSE(sandbox_->Kill()) << "a process that only the engine says to be it";
  EXPECT_EQ(sandbox_->live().pid, 0);
  sandbox_->SeeInit(child, [](pid_t) { return true; });
  EXPECT_EQ(sandbox_->live().pid, child);
  EXPECT_TRUE(sandbox_->Kill());
  EXPECT_EQ(lost_.Wait(), Loss::kEnded) << "though the stream goes on";
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace csb
