// SPDX-License-Identifier: Apache-2.0
//
// The static agent started as an engine's exec would in a machine with an init of its own: it stays behind,
// is reached through bridges, and can end the machine.
#include "agent/setup/background.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/setup/agent_lock.h"
#include "agent/setup/stop_init.h"
#include "agent/testing/agent_under_test.h"

namespace csb::agent::testing {
namespace {

using protocol::Kind;
using ::testing::HasSubstr;

// Becomes the static agent with this descriptor as 0, 1 and 2.
[[noreturn]] void Exec(std::vector<std::string> arguments, int stdio, int errors) {
  if (dup2(stdio, 0) < 0 || dup2(stdio, 1) < 0 || dup2(errors, 2) < 0) _exit(126);
  arguments.insert(arguments.begin(), CSB_AGENT_BINARY);
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

struct Outcome {
  int code = -1;
  std::string said;  // until nobody holds the output any more
};

Outcome RunAgentBinary(const std::vector<std::string>& arguments) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) Exec(arguments, ends[1], ends[1]);
  close(ends[1]);
  Outcome outcome;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    outcome.said.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

class Background : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "separate uids need root";
    char name[] = "/tmp/background_test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    chmod(name, 0755);
    bridges_ = root_ + "/run/bridges";
  }
  void TearDown() override {
    if (root_.empty()) return;
    bridge_.reset();
    if (const pid_t agent = AgentLockHolder(bridges_); agent > 0) {
      kill(agent, SIGTERM);
      EXPECT_TRUE(Ended()) << "the agent did not end";
    }
    std::filesystem::remove_all(root_);
  }
  std::vector<std::string> Arguments(std::vector<std::string> more = {}) {
    std::vector<std::string> all = {"--bridges", bridges_, "--background", "--user", "65534", "--workspace",
                                    root_ + "/work", "--own-workspace",
                                    // Should the test be killed, nothing else ends it.
                                    "--idle-timeout", "60"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  bool Ended() {
    for (int i = 0; i < 10'000 && AgentLockHolder(bridges_) != 0; ++i) usleep(1000);
    return AgentLockHolder(bridges_) == 0;
  }
  // A bridge, as a host's exec would start it, and the host.
  HostEnd& Connect() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      if (fork() != 0) _exit(0);  // reaped by nobody here
      Exec({"--connect", bridges_, "--host-id", "h1"}, ends[1], 2);
    }
    waitpid(child, nullptr, 0);
    close(ends[1]);
    bridge_.emplace(Fd(ends[0]));
    bridge_->Greet();
    return *bridge_;
  }
  std::string root_, bridges_;
  std::optional<HostEnd> bridge_;
};

TEST_F(Background, ItServesAfterItsStarterHasEnded) {
  const Outcome started = RunAgentBinary(Arguments());
  EXPECT_EQ(started.code, 0) << started.said;
  EXPECT_EQ(started.said, "");
  const pid_t agent = AgentLockHolder(bridges_);
  ASSERT_GT(agent, 1);
  EXPECT_NE(getsid(agent), getsid(0));
  EXPECT_NE(getsid(agent), agent);
  HostEnd& host = Connect();
  EXPECT_EQ(host.Run("shell", R"({"command":"id -u"})").out, "65534\n");
  EXPECT_EQ(host.Run("shell", R"({"command":"ls )" + bridges_ + R"( || echo closed"})").out, "closed\n");
  // Orphans come back to the agent and end with their command.
  host.Run("shell", R"({"command":"setsid sleep 84848.5 & exit 0"})");
  EXPECT_TRUE(ProcessesWith("84848.5").empty());
  host.Send(Kind::kShutdown, 0, 0, "{}");
  EXPECT_TRUE(Ended());
}

TEST_F(Background, ASecondStartIsHarmless) {
  ASSERT_EQ(RunAgentBinary(Arguments()).code, 0);
  const pid_t agent = AgentLockHolder(bridges_);
  HostEnd& host = Connect();
  const uint32_t running =
      host.Open({.op = "shell", .args = R"({"command":"read x; echo $x"})", .input = "on\n"});
  const Outcome again = RunAgentBinary(Arguments());
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.said, HasSubstr("process " + std::to_string(agent) + " serves " + bridges_ + " already"));
  EXPECT_EQ(AgentLockHolder(bridges_), agent);
  EXPECT_EQ(host.Wait(running).out, "on\n");
  // In the foreground, where the caller waits for its end, it is none.
  auto foreground = Arguments();
  std::erase(foreground, "--background");
  EXPECT_EQ(RunAgentBinary(foreground).code, 1);
}

TEST_F(Background, WhatFailsIsSaidAndNothingStays) {
  const Outcome failed = RunAgentBinary(Arguments({"--seccomp", root_ + "/none"}));
  EXPECT_EQ(failed.code, 1);
  EXPECT_THAT(failed.said, HasSubstr("cannot read the seccomp program " + root_ + "/none"));
  EXPECT_EQ(AgentLockHolder(bridges_), 0);
  const Outcome unwatched = RunAgentBinary(Arguments({"--control", root_ + "/none"}));
  EXPECT_EQ(unwatched.code, 1);
  EXPECT_THAT(unwatched.said, HasSubstr("cannot watch " + root_ + "/none"));
  EXPECT_EQ(AgentLockHolder(bridges_), 0);
}

TEST_F(Background, TheLockIsTheAgentsAlone) {
  ASSERT_EQ(RunAgentBinary(Arguments()).code, 0);
  const pid_t agent = AgentLockHolder(bridges_);
  Connect().Open({.op = "shell", .args = R"({"command":"sleep 85858.5"})"});
  for (int i = 0; i < 5000 && ProcessesWith("85858.5").empty(); ++i) usleep(1000);
  ASSERT_FALSE(ProcessesWith("85858.5").empty());
  kill(agent, SIGKILL);
  EXPECT_TRUE(Ended()) << "something that the agent started holds its lock";
  EXPECT_EQ(RunAgentBinary(Arguments()).code, 0);
  for (int i = 0; i < 5000 && !ProcessesWith("85858.5").empty(); ++i) usleep(1000);
  EXPECT_TRUE(ProcessesWith("85858.5").empty());
}

TEST(StopInit, TheSignalIsTheInits) {
  char name[] = "/tmp/stop_init_test-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string root = name;
  std::filesystem::create_directories(root + "/proc/1");
  EXPECT_EQ(PowerOffSignal(root), SIGUSR2);
  std::ofstream(root + "/proc/1/comm") << "init\n";
  EXPECT_EQ(PowerOffSignal(root), SIGUSR2);
  std::ofstream(root + "/proc/1/comm") << "systemd\n";
  EXPECT_EQ(PowerOffSignal(root), SIGRTMIN + 4);
  std::ofstream(root + "/proc/1/comm") << "init\n";
  std::filesystem::create_directories(root + "/run/systemd/system");
  EXPECT_EQ(PowerOffSignal(root), SIGRTMIN + 4);
  std::filesystem::remove_all(root);
}

// An init that waits for the signal; its exit code: 0 for SIGUSR2, 1 for the agent's end without it.
[[noreturn]] void BeInit(const std::vector<std::string>& arguments, bool terminate) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
      mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0 ||
      mount("none", "/run", "tmpfs", 0, nullptr) < 0)
    _exit(126);
  const pid_t agent = fork();
  if (agent == 0) Exec(arguments, open("/dev/null", O_RDWR), 2);
  if (terminate) kill(agent, SIGTERM);
  const int number = sigwaitinfo(&set, nullptr);
  // The agent's own end comes right after its signal.
  if (number == SIGUSR2) _exit(0);
  sigset_t pending;
  sigpending(&pending);
  _exit(sigismember(&pending, SIGUSR2) == 1 ? 0 : 1);
}

int EndOfInit(const std::vector<std::string>& arguments, bool terminate) {
  const auto init = static_cast<pid_t>(
      syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (init == 0) BeInit(arguments, terminate);
  int status = 0;
  waitpid(init, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Background, TheIdleTimeoutEndsTheMachineWhereThatIsAsked) {
  std::vector<std::string> arguments = {"--bridges",   bridges_,        "--idle-timeout",
                                        "0.2",         "--user",        "65534",
                                        "--workspace", root_ + "/work", "--own-workspace"};
  EXPECT_EQ(EndOfInit(arguments, false), 1);
  arguments.push_back("--stop-init");
  EXPECT_EQ(EndOfInit(arguments, false), 0);
  // Whoever sends a signal has decided already what becomes of the machine.
  EXPECT_EQ(EndOfInit(arguments, true), 1);
}

}  // namespace
}  // namespace csb::agent::testing
