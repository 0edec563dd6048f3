// SPDX-License-Identifier: Apache-2.0
//
// What the file of --seccomp may be, and that its program holds the agent and every command.
#include "agent/setup/seccomp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/base/proc_file.h"
#include "agent/setup/run.h"
#include "agent/testing/agent_under_test.h"

namespace csb::agent {
namespace {

using ::testing::HasSubstr;

// Everything is allowed but uname, which answers EPERM. It does not look at the architecture: tests only.
std::vector<sock_filter> NoUname() {
  return {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
}

class Seccomp : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/seccomp_test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    file_ = root_ + "/program";
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::vector<sock_filter>& program) {
    std::ofstream(file_, std::ios::binary)
        .write(reinterpret_cast<const char*>(program.data()),
               static_cast<std::streamsize>(program.size() * sizeof(sock_filter)));
  }
  std::string root_, file_;
};

TEST_F(Seccomp, ReadsAProgramAsItIs) {
  Write(NoUname());
  const auto program = ReadSeccompProgram(file_);
  ASSERT_TRUE(program) << program.error().message;
  ASSERT_EQ(program->size(), 4u);
  EXPECT_EQ((*program)[1].k, static_cast<uint32_t>(SYS_uname));
  Write(std::vector<sock_filter>(4096, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
  EXPECT_EQ(ReadSeccompProgram(file_)->size(), 4096u);
}

TEST_F(Seccomp, RefusesWhatIsNone) {
  const auto missing = ReadSeccompProgram(file_);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("No such file"));
  Write({});
  EXPECT_FALSE(ReadSeccompProgram(file_));
  Write(std::vector<sock_filter>(4097, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
  EXPECT_FALSE(ReadSeccompProgram(file_));
  std::ofstream(file_) << "seven b";
  EXPECT_FALSE(ReadSeccompProgram(file_));
  EXPECT_FALSE(ReadSeccompProgram(root_));
  ASSERT_EQ(mkfifo((root_ + "/fifo").c_str(), 0600), 0);
  EXPECT_FALSE(ReadSeccompProgram(root_ + "/fifo"));
}

TEST_F(Seccomp, HoldsEveryCommand) {
  Write(NoUname());
  testing::AgentUnderTest agent({.separate = geteuid() == 0, .more = {"--seccomp", file_}});
  const auto ending = agent.host().Run("shell", R"({"command":"uname -s; grep Seccomp /proc/self/status"})");
  EXPECT_THAT(ending.err, HasSubstr("Operation not permitted"));
  const std::string own = ReadSmallFile("/proc/self/status").value_or("");
  EXPECT_EQ(StatusField(ending.out, "Seccomp"), "2");
  EXPECT_EQ(std::stoi(StatusField(ending.out, "Seccomp_filters")),
            std::stoi(StatusField(own, "Seccomp_filters")) + 1);
}

// Runs the agent in a child; its exit code and what it says.
std::pair<int, std::string> Refusal(const std::vector<std::string>& arguments, const std::string& output) {
  const pid_t child = fork();
  if (child == 0) {
    if (freopen(output.c_str(), "w", stderr) == nullptr) _exit(126);
    _exit(RunAgent(arguments));
  }
  int status = 0;
  waitpid(child, &status, 0);
  std::stringstream text;
  text << std::ifstream(output).rdbuf();
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text.str()};
}

TEST_F(Seccomp, TheAgentDoesNotServeWithoutIt) {
  for (const bool loadable : {false, true}) {
    if (loadable)
      Write({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)});  // no return at the end
    else
      std::ofstream(file_) << "x";
    const auto [code, said] = Refusal({"--control", root_, "--seccomp", file_}, root_ + "/said");
    EXPECT_EQ(code, 1);
    EXPECT_THAT(said, HasSubstr(loadable ? "the kernel does not take the seccomp program: Invalid argument"
                                         : file_ + " is no seccomp program"));
  }
}

}  // namespace
}  // namespace csb::agent
