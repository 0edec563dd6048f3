// SPDX-License-Identifier: Apache-2.0
//
// agent_under_test.h: an agent in a process of its own and the host's end of a channel to it, for tests.
//
//   AgentUnderTest agent({.separate = true});
//   Ending ending = agent.host().Run("shell", R"({"command":"echo hi"})");
//   EXPECT_EQ(ending.out, "hi\n");
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/fd.h"
#include "agent/protocol/frame.h"
#include "clara_sandbox/cpp/json.h"

namespace csb::agent::testing {

struct Request {
  std::string op;
  std::string args = "{}";
  uint64_t timeout_ms = 0;
  uint64_t credit = 1 << 30;
  std::optional<std::string> input;  // all of it, sent as credit allows
  bool open_input = false;           // input that never comes
};

// Everything that came for one stream.
struct Ending {
  std::string out, err, data;
  std::vector<std::pair<int, std::string>> events;  // in order; OUTPUT appears as {0, "stream:size"}
  json::Document done;
  int64_t seconds_ns = 0;

  int code() const { return static_cast<int>(json::GetInt(done, "code").value_or(-1)); }
  std::string message() const;
  std::string result_text(std::string_view member) const;
  int64_t result_int(std::string_view member) const;
};

// A host's end of a channel; blocking.
class HostEnd {
 public:
  explicit HostEnd(Fd socket) : socket_(std::move(socket)) {}
  // Reads HELLO, answers WELCOME.
  void Greet();
  uint32_t Open(const Request& request);
  Ending Wait(uint32_t stream);
  // Until the stream's output holds `text`; false: it ended before.
  bool WaitForOutput(uint32_t stream, const std::string& text);
  Ending Run(Request request) { return Wait(Open(request)); }
  Ending Run(std::string op, std::string args) {
    return Run(Request{.op = std::move(op), .args = std::move(args)});
  }
  void Send(protocol::Kind kind, uint8_t flags, uint32_t stream, std::string_view payload);
  void SendU64(protocol::Kind kind, uint32_t stream, uint64_t value);
  void SendRaw(std::string_view bytes);
  // One frame of any stream, within `timeout_ms`; nothing: none came, or the channel ended (then ended() is
  // true).
  struct Received {
    protocol::Kind kind;
    uint8_t flags;
    uint32_t stream;
    std::string payload;
  };
  std::optional<Received> Next(int timeout_ms = 20'000);
  bool ended() const { return ended_; }
  void Close() { socket_.Reset(); }
  int fd() const { return socket_.get(); }
  const json::Document& hello() const { return hello_; }

 private:
  struct Pending {
    Ending ending;
    std::string input;
    size_t sent = 0;
    uint64_t allowed = 0;
    bool input_over = true;
    bool over = false;
    int64_t opened_ns = 0;
  };
  void Take(const Received& frame);
  void PushInput(uint32_t stream, Pending& pending);

  Fd socket_;
  protocol::FrameDecoder decoder_;
  json::Document hello_;
  uint32_t last_ = 0;
  bool ended_ = false;
  std::map<uint32_t, Pending> pending_;
};

struct AgentOptions {
  int user = 65534;
  bool separate = true;  // commands as `user`
  bool binary = false;   // the static binary instead of the sanitized core
  bool control = false;  // serve a folder of sockets instead of one socket
  int nproc = 0;         // RLIMIT_NPROC of the agent and its commands
  int nofile = 0;        // RLIMIT_NOFILE, likewise
  std::vector<std::string> more;
};

class AgentUnderTest {
 public:
  explicit AgentUnderTest(const AgentOptions& options);
  ~AgentUnderTest();
  HostEnd& host() { return *host_; }
  pid_t pid() const { return pid_; }
  const std::string& workspace() const { return workspace_; }
  const std::string& control() const { return control_; }
  // The wait status, once it has ended by itself within 10 s.
  std::optional<int> WaitForExit();

 private:
  std::string folder_, workspace_, control_;
  pid_t pid_ = -1;
  std::optional<HostEnd> host_;
};

// Processes whose command line or name holds `marker`.
std::vector<pid_t> ProcessesWith(const std::string& marker);

}  // namespace csb::agent::testing
