// SPDX-License-Identifier: Apache-2.0
//
// The channel against the real agent, on the bare host: both sides of docs/agent-protocol.md.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "clara_sandbox/cpp/backend.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/testing/fake_service.h"
#include "clara_sandbox/testing/recorder.h"
#include "plugins/common/agent_channel_testing.h"
#include "plugins/common/agent_operation.h"

namespace csb::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

class OneAgent : public Backend {
 public:
  static Result<std::unique_ptr<OneAgent>> Create(HostRef host) { return std::make_unique<OneAgent>(host); }
  explicit OneAgent(HostRef host) : host_(host) {}
  Result<std::shared_ptr<Operation>> Submit(const RequestView& request, EventSink sink) override {
    return RunOnAgent(host_, channel, request, std::move(sink));
  }
  static inline std::shared_ptr<AgentChannel> channel;

 private:
  HostRef host_;
};

class RealAgentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string binary = std::string(CSB_TEST_BINARY_DIR) + "/lib/clara-sandbox/clara-sandbox-agent";
    ASSERT_EQ(::access(binary.c_str(), X_OK), 0) << binary;
    char folder[] = "/tmp/real-agent-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    const std::string workspace = folder_ + "/workspace", tmp = folder_ + "/tmp";
    ASSERT_EQ(::chmod(folder, 0755), 0);
    for (const auto& path : {workspace, tmp}) {
      ASSERT_EQ(::mkdir(path.c_str(), 0777), 0);
      ASSERT_EQ(::chmod(path.c_str(), 0777), 0);
    }
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    UniqueFd ours(fds[0]), theirs(fds[1]);
    std::vector<std::string> arguments = {binary, "--fd", "3", "--workspace", workspace, "--tmp", tmp};
    if (::getuid() == 0) arguments.insert(arguments.end(), {"--user", "65534"});
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      if (theirs.get() == 3)
        ::fcntl(3, F_SETFD, 0);
      else
        ::dup2(theirs.get(), 3);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    theirs.reset();
    reactor_ = *Reactor::Create("test");
    channel_ = AgentChannel::Create(*reactor_, std::move(ours),
                                    {.name = "real", .cancel_grace = 1s, .end_grace = 3s},
                                    {[this](const AgentHello& hello) { ready_.Set(hello); },
                                     [this](const Error& why) { end_.Set(why); }});
    ASSERT_TRUE(ready_.Wait()) << "no hello";
    OneAgent::channel = channel_;
    backend_.emplace(host_);
  }
  void TearDown() override {
    OneAgent::channel.reset();
    if (channel_) {
      channel_->Shutdown();
      EXPECT_TRUE(end_.Wait()) << "the agent does not end on SHUTDOWN";
    }
    channel_.reset();
    backend_.reset();
    reactor_.reset();
    if (pid_ > 0) {
      ::kill(pid_, SIGCONT);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }
  std::unique_ptr<Recorder> Run(uint32_t op, const std::string& payload, uint64_t timeout_ms = 30'000,
                                uint32_t flags = 0) {
    return std::make_unique<Recorder>(backend_->table(), backend_->self(),
                                      Request{.op = op,
                                              .flags = flags,
                                              .user = "u",
                                              .payload = payload,
                                              .deadline_ns = host_.ref().NowNs() + timeout_ms * 1'000'000});
  }
  // Runs to the end and hands back the result, which must be CSB_OK.
  json::Document Result(Recorder& op) {
    EXPECT_TRUE(op.Wait());
    EXPECT_EQ(op.code(), CSB_OK) << op.message() << (end_.Wait(0ms) ? end_.Wait()->message : "");
    EXPECT_THAT(op.violations(), IsEmpty());
    auto doc = json::ParseObject(op.result());
    return doc ? *std::move(doc) : *json::Parse("{}");
  }

  FakeHost host_;
  std::string folder_;
  pid_t pid_ = -1;
  Eventually<AgentHello> ready_;
  Eventually<Error> end_;
  std::unique_ptr<Reactor> reactor_;
  std::shared_ptr<AgentChannel> channel_;
  std::optional<BackendHarness<OneAgent>> backend_;
};

TEST_F(RealAgentTest, ShellGivesOutputAndExitCode) {
  auto shell = Run(CSB_OP_SHELL, R"({"command":"echo out; echo err >&2; exit 3","timeout":5})");
  const auto result = Result(*shell);
  EXPECT_EQ(json::GetInt(result, "exit_code"), 3);
  EXPECT_EQ(json::GetString(result, "cause"), "exit");
  EXPECT_EQ(shell->output(CSB_STREAM_STDOUT), "out\n");
  EXPECT_EQ(shell->output(CSB_STREAM_STDERR), "err\n");
}

TEST_F(RealAgentTest, PythonRuns) {
  auto run = Run(CSB_OP_EXECUTE, R"({"code":"print(6 * 7) # forty-two"})");
  EXPECT_EQ(json::GetInt(Result(*run), "exit_code"), 0);
  EXPECT_EQ(run->output(CSB_STREAM_STDOUT), "42\n");
}

TEST_F(RealAgentTest, InputReachesStdin) {
  auto cat = Run(CSB_OP_EXEC, R"({"argv":["cat"]})", 30'000, CSB_REQUEST_INPUT);
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += std::to_string(i) + "\n";
  ASSERT_TRUE(cat->Send(text));
  EXPECT_EQ(json::GetInt(Result(*cat), "exit_code"), 0);
  EXPECT_TRUE(cat->output(CSB_STREAM_STDOUT) == text);
}

TEST_F(RealAgentTest, DeadlineIsAResultInTime) {
  const auto start = std::chrono::steady_clock::now();
  auto shell = Run(CSB_OP_SHELL, R"({"command":"echo early; sleep 60"})", 300);
  const auto result = Result(*shell);
  EXPECT_EQ(json::GetString(result, "cause"), "deadline");
  EXPECT_EQ(json::GetInt(result, "exit_code"), 124);
  EXPECT_EQ(shell->output(CSB_STREAM_STDOUT), "early\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

TEST_F(RealAgentTest, CancelEndsItWithPartialOutput) {
  auto shell = Run(CSB_OP_SHELL, R"({"command":"echo early; sleep 60"})");
  ASSERT_TRUE(shell->WaitOutput(CSB_STREAM_STDOUT, "early"));
  shell->Cancel();
  EXPECT_EQ(json::GetString(Result(*shell), "cause"), "cancelled");
}

TEST_F(RealAgentTest, FilesGoInAndOutWhole) {
  std::string content(9 << 20, 'x');
  for (size_t i = 0; i < content.size(); i += 97) content[i] = static_cast<char>(i);
  auto write = Run(CSB_OP_FILE_WRITE, R"({"path":"sub/file.bin"})", 30'000, CSB_REQUEST_INPUT);
  ASSERT_TRUE(write->Send(content));
  EXPECT_EQ(json::GetInt(Result(*write), "size"), static_cast<int64_t>(content.size()));
  auto read = Run(CSB_OP_FILE_READ, R"({"path":"sub/file.bin"})");
  EXPECT_EQ(json::GetInt(Result(*read), "length"), static_cast<int64_t>(content.size()));
  EXPECT_TRUE(read->output(CSB_STREAM_DATA) == content);
  auto part = Run(CSB_OP_FILE_READ, R"({"path":"sub/file.bin","offset":-5,"length":3})");
  Result(*part);
  EXPECT_EQ(part->output(CSB_STREAM_DATA), content.substr(content.size() - 5, 3));
  auto list = Run(CSB_OP_FILE_LIST, R"({"path":"sub"})");
  EXPECT_EQ(json::Find(Result(*list), "entries")->Size(), 1u);
  auto stat = Run(CSB_OP_FILE_STAT, R"({"path":"sub/file.bin"})");
  EXPECT_EQ(json::GetString(Result(*stat), "type"), "file");
  auto gone = Run(CSB_OP_FILE_DELETE, R"({"path":"sub/file.bin"})");
  Result(*gone);
  auto missing = Run(CSB_OP_FILE_READ, R"({"path":"sub/file.bin"})");
  ASSERT_TRUE(missing->Wait());
  EXPECT_EQ(missing->code(), CSB_E_NOT_FOUND);
  EXPECT_THAT(missing->message(), HasSubstr("File not found"));
}

// As a client does that has seen enough of a large file.
TEST_F(RealAgentTest, AReadThatWaitsForCreditCanBeCancelled) {
  auto make = Run(CSB_OP_SHELL, R"({"command":"head -c 5000000 /dev/zero > big"})");
  Result(*make);
  Recorder read(
      backend_->table(), backend_->self(),
      {.op = CSB_OP_FILE_READ, .user = "u", .payload = R"({"path":"big"})", .output_credit = 30'000},
      Recorder::Credit::kManual);
  ASSERT_TRUE(read.WaitOutput(CSB_STREAM_DATA, std::string(30'000, '\0')));
  read.Cancel();
  ASSERT_TRUE(read.Wait());
  EXPECT_EQ(read.code(), CSB_E_CANCELLED);
  EXPECT_TRUE(channel_->ready()) << "the channel ended: " << end_.Wait()->message;
}

TEST_F(RealAgentTest, ANamedArchiveIsUnpacked) {
  auto make = Run(CSB_OP_SHELL, R"({"command":"mkdir d && echo hi > d/f && tar cf a.tar d && rm -r d"})");
  ASSERT_EQ(json::GetInt(Result(*make), "exit_code"), 0) << make->output(CSB_STREAM_STDERR);
  auto unzip = Run(CSB_OP_UNZIP, R"({"path":"a.tar"})");
  EXPECT_EQ(json::GetInt(Result(*unzip), "exit_code"), 0);
}

TEST_F(RealAgentTest, FloodIsBoundedAtTheAgent) {
  auto flood =
      Run(CSB_OP_SHELL, R"({"command":"head -c 50000000 /dev/zero","output":{"head":1000,"tail":1000}})");
  const auto result = Result(*flood);
  EXPECT_EQ(json::GetInt(result, "stdout_bytes"), 50'000'000);
  EXPECT_EQ(flood->output(CSB_STREAM_STDOUT).size(), 2000u);
  EXPECT_FALSE(flood->events().empty());
}

TEST_F(RealAgentTest, ManySideBySide) {
  std::vector<std::unique_ptr<Recorder>> runs;
  for (int i = 0; i < 50; ++i)
    runs.push_back(Run(CSB_OP_SHELL, R"({"command":"echo )" + std::to_string(i) + "\"}"));
  for (size_t i = 0; i < runs.size(); ++i) {
    Result(*runs[i]);
    EXPECT_EQ(runs[i]->output(CSB_STREAM_STDOUT), std::to_string(i) + "\n");
  }
}

TEST_F(RealAgentTest, StoppedAgentIsNoticedAfterTheDeadline) {
  auto shell = Run(CSB_OP_SHELL, R"({"command":"echo up; sleep 60"})", 1000);
  ASSERT_TRUE(shell->WaitOutput(CSB_STREAM_STDOUT, "up"));
  ASSERT_EQ(::kill(pid_, SIGSTOP), 0);
  ASSERT_TRUE(shell->Wait());
  EXPECT_EQ(shell->code(), CSB_E_DEADLINE);
  EXPECT_THAT(shell->message(), HasSubstr("Execution timed out"));
  EXPECT_THAT(shell->message(), HasSubstr("does not answer"));
}

TEST_F(RealAgentTest, KilledAgentIsGone) {
  auto shell = Run(CSB_OP_SHELL, R"({"command":"echo up; sleep 3"})");
  ASSERT_TRUE(shell->WaitOutput(CSB_STREAM_STDOUT, "up"));
  ASSERT_EQ(::kill(pid_, SIGKILL), 0);
  ASSERT_TRUE(shell->Wait());
  EXPECT_EQ(shell->code(), CSB_E_GONE);
}

}  // namespace
}  // namespace csb::testing
