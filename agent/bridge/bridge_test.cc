// SPDX-License-Identifier: Apache-2.0
//
// The static agent as pid 1 of a namespace, bridges that are put into it as an engine's exec would, and a
// host at their stdin and stdout.
#include "agent/bridge/bridge.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "agent/bridge/evict.h"
#include "agent/testing/agent_under_test.h"

namespace csb::agent::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void Exec(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), CSB_AGENT_BINARY);
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

std::string ReadToEnd(int fd) {
  std::string text;
  char buffer[4096];
  ssize_t n;
  while ((n = read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(n));
  return text;
}

// A bridge in the agent's namespaces; `host` is where a host would be.
class BridgeProcess {
 public:
  BridgeProcess(pid_t init, const std::string& folder, const std::string& id) {
    int ends[2];
    int errors[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    EXPECT_EQ(pipe2(errors, O_CLOEXEC), 0);
    const std::string base = "/proc/" + std::to_string(init) + "/ns/";
    const Fd pids(open((base + "pid").c_str(), O_RDONLY | O_CLOEXEC));
    const Fd mounts(open((base + "mnt").c_str(), O_RDONLY | O_CLOEXEC));
    pid_ = fork();
    if (pid_ == 0) {
      if (setns(pids.get(), CLONE_NEWPID) < 0 || setns(mounts.get(), CLONE_NEWNS) < 0) _exit(126);
      const pid_t inner = fork();  // only children are in the other pid namespace
      if (inner == 0) {
        if (dup2(ends[1], 0) < 0 || dup2(ends[1], 1) < 0 || dup2(errors[1], 2) < 0) _exit(126);
        Exec({"--connect", folder, "--host-id", id});
      }
      close(ends[0]);
      close(ends[1]);
      close(errors[1]);
      int status = 0;
      waitpid(inner, &status, 0);
      _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    close(ends[1]);
    close(errors[1]);
    errors_.Reset(errors[0]);
    host.emplace(Fd(ends[0]));
  }
  ~BridgeProcess() {
    host.reset();
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }
  // 128 + the signal, as a shell says it; -1: it did not end within 10 s.
  int ExitCode() {
    for (const int64_t until = NowNs() + 10 * kSecond; NowNs() < until; usleep(1000)) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) != pid_) continue;
      pid_ = -1;
      return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    return -1;
  }
  std::string Errors() { return ReadToEnd(errors_.get()); }
  std::optional<HostEnd> host;

 private:
  pid_t pid_ = -1;
  Fd errors_;
};

class BridgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "namespaces need root";
    char name[] = "/tmp/bridge_test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    chmod(name, 0755);
    control_ = root_ + "/run/ctl";
    init_ = static_cast<pid_t>(
        syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (init_ < 0) GTEST_SKIP() << "no right to make a pid namespace";
    if (init_ == 0) {
      if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) _exit(126);
      if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) _exit(126);
      Exec({"--control", control_, "--make-control", "--user", "65534", "--workspace", root_ + "/workspace",
            "--own-workspace"});
    }
    for (int i = 0; i < 5000 && !std::filesystem::exists(root_ + "/workspace"); ++i) usleep(1000);
    ASSERT_TRUE(std::filesystem::exists(control_)) << "the agent did not start";
  }
  void TearDown() override {
    if (init_ > 0) {
      kill(init_, SIGKILL);
      waitpid(init_, nullptr, 0);
    }
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }
  std::vector<std::string> Sockets() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(control_))
      names.push_back(entry.path().filename());
    return names;
  }
  static std::string Shell(BridgeProcess& bridge, const std::string& command) {
    return bridge.host->Run("shell", R"({"command":")" + command + R"("})").out;
  }
  std::string root_, control_;
  pid_t init_ = -1;
};

TEST_F(BridgeTest, AHostRunsCommandsThroughItAndItEndsWithTheHost) {
  BridgeProcess bridge(init_, control_, "h1");
  bridge.host->Greet();
  EXPECT_EQ(Shell(bridge, "id -u; pwd"), "65534\n" + root_ + "/workspace\n");
  EXPECT_EQ(Shell(bridge, "yes | head -c 50000000 | wc -c"), "50000000\n");
  const std::string text(3'000'000, 'x');
  EXPECT_EQ(bridge.host->Run({.op = "shell", .args = R"({"command":"cat"})", .input = text}).out, text);
  ASSERT_EQ(Sockets().size(), 1u);
  EXPECT_THAT(Sockets()[0], ::testing::MatchesRegex("h1-[0-9]+\\.sock"));
  struct stat info {};
  ASSERT_EQ(stat((control_ + "/" + Sockets()[0]).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode, S_IFSOCK | 0600u);
  bridge.host->Close();
  EXPECT_EQ(bridge.ExitCode(), 0);
  EXPECT_EQ(bridge.Errors(), "");
  EXPECT_TRUE(Sockets().empty());
}

TEST_F(BridgeTest, CommandsEndWithTheirHostAndTheNextHostIsServed) {
  {
    BridgeProcess first(init_, control_, "h1");
    first.host->Greet();
    first.host->Open({.op = "shell", .args = R"({"command":"sleep 83838.5"})"});
    for (int i = 0; i < 5000 && ProcessesWith("83838.5").empty(); ++i) usleep(1000);
    ASSERT_FALSE(ProcessesWith("83838.5").empty()) << "the command did not start";
  }
  for (int i = 0; i < 5000 && !ProcessesWith("83838.5").empty(); ++i) usleep(1000);
  EXPECT_TRUE(ProcessesWith("83838.5").empty());
  BridgeProcess second(init_, control_, "h2");
  second.host->Greet();
  EXPECT_EQ(Shell(second, "echo again"), "again\n");
}

TEST_F(BridgeTest, ANewOneEndsTheOlderOnesOfItsHostAlone) {
  BridgeProcess orphan(init_, control_, "h1");
  orphan.host->Greet();
  BridgeProcess other(init_, control_, "h1-2");
  other.host->Greet();
  BridgeProcess next(init_, control_, "h1");
  next.host->Greet();
  EXPECT_EQ(orphan.ExitCode(), 128 + SIGKILL);
  EXPECT_EQ(Shell(next, "echo next"), "next\n");
  EXPECT_EQ(Shell(other, "echo other"), "other\n");
  EXPECT_EQ(Sockets().size(), 2u);
}

TEST_F(BridgeTest, OnlyABridgeIsEverKilled) {
  BridgeProcess other(init_, control_, "other");
  other.host->Greet();
  // Code of the user that looks like one, and two files that name it and the agent.
  const uint32_t fake =
      other.host->Open({.op = "exec",
                        .args = R"({"argv":["sh","-c","echo $$ > pid; echo up; read x","sh","--connect",")" +
                                control_ + R"(","--host-id","h1"]})",
                        .open_input = true});
  ASSERT_TRUE(other.host->WaitForOutput(fake, "up"));
  std::string pid;
  std::ifstream(root_ + "/workspace/pid") >> pid;
  ASSERT_FALSE(pid.empty());
  std::ofstream(control_ + "/h1-" + pid + ".sock") << "x";
  std::ofstream(control_ + "/h1-1.sock") << "x";
  BridgeProcess bridge(init_, control_, "h1");
  bridge.host->Greet();
  EXPECT_EQ(Shell(bridge, "kill -0 " + pid + " && echo alive"), "alive\n");
  EXPECT_EQ(Sockets().size(), 2u);
}

TEST_F(BridgeTest, ItHoldsNoRightAndCodeOfTheUserCannotReachIt) {
  BridgeProcess bridge(init_, control_, "h1");
  bridge.host->Greet();
  const std::string socket = Sockets()[0];
  const std::string pid = socket.substr(3, socket.find('.') - 3);
  const std::string status = Shell(bridge, "cat /proc/" + pid + "/status");
  EXPECT_THAT(status, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapPrm:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_EQ(
      Shell(bridge, "cat /proc/" + pid + "/fd/0 /proc/" + pid + "/environ || kill " + pid + " || echo safe"),
      "safe\n");
  EXPECT_EQ(Shell(bridge, "ls " + control_ + " || echo closed"), "closed\n");
}

TEST_F(BridgeTest, OnlyTheAgentMayConnect) {
  const std::string folder = root_ + "/elsewhere";
  mkdir(folder.c_str(), 0700);
  BridgeProcess bridge(init_, folder, "h1");
  std::string path;
  for (int i = 0; i < 5000 && path.empty(); ++i, usleep(1000))
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.path().extension() == ".sock") path = entry.path();
  ASSERT_FALSE(path.empty());
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  pollfd hang_up{socket.get(), POLLIN, 0};
  ASSERT_EQ(poll(&hang_up, 1, 10'000), 1) << "the bridge serves the test";
  EXPECT_EQ(ReadToEnd(socket.get()), "");
  bridge.host->Close();
  EXPECT_EQ(bridge.ExitCode(), 0);
  EXPECT_THAT(bridge.Errors(), HasSubstr("not from the agent"));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(BridgeTest, AFolderThatOthersCanWriteToIsRefused) {
  const std::string folder = root_ + "/open";
  mkdir(folder.c_str(), 0777);
  chmod(folder.c_str(), 0777);
  BridgeProcess bridge(init_, folder, "h1");
  EXPECT_EQ(bridge.ExitCode(), 1);
  EXPECT_THAT(bridge.Errors(), HasSubstr("can be written to by others"));
}

// An engine may let the bridge in before the agent has made it.
TEST_F(BridgeTest, AFolderThatIsNotMadeYetIsAwaited) {
  const std::string folder = root_ + "/late";
  BridgeProcess bridge(init_, folder, "h1");
  BridgeProcess impatient(init_, folder, "h2");
  impatient.host->Close();
  EXPECT_EQ(impatient.ExitCode(), 0);
  mkdir((root_ + "/other").c_str(), 0700);
  mkdir(folder.c_str(), 0700);
  const auto listens = [&] {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.path().extension() == ".sock") return true;
    return false;
  };
  for (int i = 0; i < 5000 && !listens(); ++i) usleep(1000);
  EXPECT_TRUE(listens());
  bridge.host->Close();
  EXPECT_EQ(bridge.ExitCode(), 0);
  EXPECT_EQ(bridge.Errors(), "");
}

// How a bridge with nobody at its other side ends, within 50 ms; its stdin stays.
std::string EndOfALoneBridge(const std::string& folder) {
  int silent[2], told[2];
  EXPECT_EQ(pipe2(silent, O_CLOEXEC), 0);
  EXPECT_EQ(pipe2(told, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (dup2(silent[0], 0) < 0) _exit(3);
    const auto bridged = RunBridge({.folder = folder, .host_id = "h1", .wait_ns = 50 * kMs});
    const std::string end = bridged ? "well" : bridged.error().message;
    _exit(write(told[1], end.data(), end.size()) < 0 ? 4 : 0);
  }
  close(told[1]);
  std::string end = ReadToEnd(told[0]);
  for (const int fd : {silent[0], silent[1], told[0]}) close(fd);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  return end;
}

TEST(Bridge, WithoutAnAgentItGivesUp) {
  char name[] = "/tmp/bridge_test-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  EXPECT_THAT(EndOfALoneBridge(name), HasSubstr("did not connect within 50 ms"));
  EXPECT_TRUE(std::filesystem::is_empty(name));
  const std::string none = std::string(name) + "/none";
  EXPECT_THAT(EndOfALoneBridge(none), HasSubstr("cannot open " + none));
  EXPECT_THAT(EndOfALoneBridge(none + "/none"), HasSubstr("cannot open " + none));
  std::filesystem::remove_all(name);
}

}  // namespace
}  // namespace csb::agent::testing
