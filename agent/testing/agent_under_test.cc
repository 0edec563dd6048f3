// SPDX-License-Identifier: Apache-2.0
#include "agent/testing/agent_under_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/setup/run.h"

namespace csb::agent::testing {

using protocol::Kind;

std::string Ending::message() const {
  if (auto text = json::GetString(done, "message")) return std::string(*text);
  return result_text("message");
}
std::string Ending::result_text(std::string_view member) const {
  const json::Value* result = json::Find(done, "result");
  return result == nullptr ? "" : std::string(json::GetString(*result, member).value_or(""));
}
int64_t Ending::result_int(std::string_view member) const {
  const json::Value* result = json::Find(done, "result");
  return result == nullptr ? -1 : json::GetInt(*result, member).value_or(-1);
}

void HostEnd::SendRaw(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void HostEnd::Send(Kind kind, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string bytes;
  protocol::AppendFrame(bytes, kind, flags, stream, payload);
  SendRaw(bytes);
}

void HostEnd::SendU64(Kind kind, uint32_t stream, uint64_t value) {
  std::string bytes;
  protocol::AppendFrameU64(bytes, kind, stream, value);
  SendRaw(bytes);
}

std::optional<HostEnd::Received> HostEnd::Next(int timeout_ms) {
  const int64_t until = NowNs() + timeout_ms * kMs;
  for (;;) {
    if (auto frame = decoder_.Next())
      return Received{frame->kind, frame->flags, frame->stream, std::string(frame->payload)};
    if (decoder_.broken()) ADD_FAILURE() << "the agent sent a bad frame: " << decoder_.error();
    const int64_t left = until - NowNs();
    if (left <= 0 || ended_) return std::nullopt;
    pollfd poll_fd{socket_.get(), POLLIN, 0};
    if (poll(&poll_fd, 1, static_cast<int>(left / kMs) + 1) <= 0) return std::nullopt;
    static char buffer[256 << 10];
    const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n <= 0)
      ended_ = true;
    else
      decoder_.Append({buffer, static_cast<size_t>(n)});
  }
}

void HostEnd::Greet() {
  const auto hello = Next();
  ASSERT_TRUE(hello) << "no HELLO";
  ASSERT_EQ(hello->kind, Kind::kHello);
  auto parsed = json::ParseObject(hello->payload);
  ASSERT_TRUE(parsed);
  hello_ = std::move(*parsed);
  Send(Kind::kWelcome, 0, 0, R"({"proto":1,"host":"test"})");
}

uint32_t HostEnd::Open(const Request& request) {
  const uint32_t stream = ++last_;
  Pending& pending = pending_[stream];
  pending.opened_ns = NowNs();
  if (request.input) {
    pending.input = *request.input;
    pending.input_over = false;
  }
  Send(Kind::kOpen, request.input || request.open_input ? protocol::kFlagInputFollows : 0, stream,
       "{\"op\":\"" + request.op + "\",\"args\":" + request.args + ",\"timeout_ms\":" +
           std::to_string(request.timeout_ms) + ",\"credit\":" + std::to_string(request.credit) + "}");
  return stream;
}

void HostEnd::PushInput(uint32_t stream, Pending& pending) {
  if (pending.input_over) return;
  while (pending.allowed > 0 && pending.sent < pending.input.size()) {
    const size_t n =
        std::min<uint64_t>({pending.allowed, pending.input.size() - pending.sent, protocol::kMaxData});
    Send(Kind::kInput, 0, stream, std::string_view(pending.input).substr(pending.sent, n));
    pending.sent += n;
    pending.allowed -= n;
  }
  if (pending.sent < pending.input.size()) return;
  Send(Kind::kInput, protocol::kFlagEndOfInput, stream, "");
  pending.input_over = true;
}

void HostEnd::Take(const Received& frame) {
  const auto it = pending_.find(frame.stream);
  if (it == pending_.end()) return;
  Pending& pending = it->second;
  Ending& ending = pending.ending;
  if (frame.kind == Kind::kOutput) {
    (frame.flags == 1 ? ending.out : frame.flags == 2 ? ending.err : ending.data) += frame.payload;
    ending.events.emplace_back(0, std::to_string(frame.flags) + ":" + std::to_string(frame.payload.size()));
  } else if (frame.kind == Kind::kEvent) {
    ending.events.emplace_back(frame.flags, frame.payload);
  } else if (frame.kind == Kind::kInputCredit) {
    pending.allowed += protocol::LoadU64(frame.payload.data());
    PushInput(frame.stream, pending);
  } else if (frame.kind == Kind::kDone) {
    auto done = json::ParseObject(frame.payload);
    EXPECT_TRUE(done) << frame.payload;
    if (done) ending.done = std::move(*done);
    ending.seconds_ns = NowNs() - pending.opened_ns;
    pending.over = true;
  }
}

Ending HostEnd::Wait(uint32_t stream) {
  while (!pending_[stream].over) {
    const auto frame = Next();
    if (!frame) {
      ADD_FAILURE() << "stream " << stream << " did not end" << (ended_ ? ": the channel closed" : "");
      pending_[stream].ending.done.SetObject();
      break;
    }
    Take(*frame);
  }
  Ending ending = std::move(pending_[stream].ending);
  pending_.erase(stream);
  return ending;
}

bool HostEnd::WaitForOutput(uint32_t stream, const std::string& text) {
  for (;;) {
    const Pending& pending = pending_[stream];
    if (pending.ending.out.find(text) != std::string::npos) return true;
    if (pending.over) return false;
    const auto frame = Next();
    if (!frame) return false;
    Take(*frame);
  }
}

AgentUnderTest::AgentUnderTest(const AgentOptions& options) {
  char name[] = "/tmp/agent_test-XXXXXX";
  if (mkdtemp(name) == nullptr) {
    ADD_FAILURE() << "mkdtemp";
    return;
  }
  folder_ = name;
  chmod(name, 0755);
  workspace_ = folder_ + "/workspace";
  control_ = folder_ + "/control";
  mkdir(workspace_.c_str(), 0777);
  chmod(workspace_.c_str(), 0777);
  mkdir(control_.c_str(), 0755);
  int ends[2] = {-1, -1};
  std::vector<std::string> arguments = {"--workspace", workspace_};
  if (options.control) {
    arguments.insert(arguments.end(), {"--control", control_});
  } else {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return;
    arguments.insert(arguments.end(), {"--fd", std::to_string(ends[1])});
  }
  if (options.separate) arguments.insert(arguments.end(), {"--user", std::to_string(options.user)});
  arguments.insert(arguments.end(), options.more.begin(), options.more.end());
  pid_ = fork();
  if (pid_ == 0) {
    // The hosts' ends of this and other agents stay with the test, or their closing would go unnoticed.
    for (int fd = 3; fd < 1024; ++fd)
      if (fd != ends[1]) close(fd);
    if (ends[1] >= 0) fcntl(ends[1], F_SETFD, 0);
    const auto bound = [](int which, int value) {
      const rlimit limit{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
      if (value > 0 && setrlimit(static_cast<__rlimit_resource>(which), &limit) < 0) _exit(126);
    };
    bound(RLIMIT_NPROC, options.nproc);
    bound(RLIMIT_NOFILE, options.nofile);
    // As a host that may does, so that a busy machine does not slow a kill down; commands are set back to 0.
    if (geteuid() == 0) setpriority(PRIO_PROCESS, 0, -10);
    if (!options.binary) _exit(RunAgent(arguments));
    std::string path = CSB_AGENT_BINARY;
    if (const char* other = std::getenv("CSB_TEST_AGENT")) path = other;
    std::vector<char*> argv = {path.data()};
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    execv(path.c_str(), argv.data());
    _exit(127);
  }
  if (ends[1] >= 0) close(ends[1]);
  if (options.control) return;
  host_.emplace(Fd(ends[0]));
  host_->Greet();
}

std::optional<int> AgentUnderTest::WaitForExit() {
  for (const int64_t until = NowNs() + 10 * kSecond; NowNs() < until; usleep(1000)) {
    int status;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return status;
    }
  }
  return std::nullopt;
}

AgentUnderTest::~AgentUnderTest() {
  if (pid_ > 0) {
    if (host_)
      host_->Close();
    else
      kill(pid_, SIGTERM);
    if (!WaitForExit()) {
      ADD_FAILURE() << "the agent did not end";
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::vector<pid_t> ProcessesWith(const std::string& marker) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline");
    std::stringstream text;
    text << file.rdbuf();
    if (text.str().find(marker) != std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

}  // namespace csb::agent::testing
