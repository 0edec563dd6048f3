// SPDX-License-Identifier: Apache-2.0
//
// server.h: the agent as a whole: its hosts' channels, their streams, the processes below, and the
// rules of its life: it ends on SIGTERM (also SIGINT, and SIGPWR, which LXC sends), on SHUTDOWN, and when no
// host was connected for the idle timeout; always after every process it started.
//
//   Loop loop;
//   Server server(loop, options);
//   if (auto started = server.Start(); !started) return Fail(started.error());
//   loop.Run();
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/background/background_table.h"
#include "agent/base/loop.h"
#include "agent/channel/background_stream.h"
#include "agent/channel/channel.h"
#include "agent/channel/context_stream.h"
#include "agent/channel/dialer.h"
#include "agent/channel/stream.h"
#include "agent/command/command.h"
#include "agent/command/oom.h"
#include "agent/process/pool.h"

namespace csb::agent {

struct ServerOptions {
  std::string control;          // folder of hosts' sockets; empty: none
  std::string bridges;          // folder of the sockets of hosts elsewhere (bridge/bridge.h); empty: none
  int fd = -1;                  // one socket to serve instead, owned by the server; its end is the agent's
  int64_t idle_timeout_ns = 0;  // 0: never
  int64_t warm_time_ns = 300 * kSecond;  // how long interpreters are kept ready after a run; 0: none
  std::string oom_events;
  Identity identity;
  CommandSettings commands;
};

class Server : public ChannelOwner {
 public:
  Server(Loop& loop, const ServerOptions& options);
  ~Server() override;

  Status Start();
  // Ends every process, then stops the loop. Idempotent.
  void Shutdown();
  // Has it ended by its own or a host's decision, and not by a signal? Then its machine is not needed either.
  bool is_done_with_machine() const { return done_with_machine_; }

  bool OnOpen(Channel& channel, uint32_t stream, bool input, std::string_view payload) override;
  void OnShutdown(Channel&) override { EndMachine(); }
  void OnClosed(Channel& channel) override;

 private:
  void EndMachine();
  Status Dial(const std::string& folder);
  bool StartSignals();
  void OnSignals();
  bool Serve(Fd socket, const std::string& name);
  void OpenStream(Channel& channel, uint32_t id, bool input, const json::Value& request);
  void Refuse(Channel& channel, uint32_t id, const Error& error);
  std::string Hello() const;
  std::string Stats() const;
  // What an operation brings besides its own arguments.
  struct Opening {
    uint32_t id = 0;
    bool input = false;
    uint64_t timeout_ms = 0;
    uint64_t credit = 0;
  };
  bool OpenBackground(Channel& channel, const Opening& opening, std::string_view op, const json::Value& args);
  void StartProcess(Channel& channel, const Opening& opening, const json::Value& args);
  void StartKept(Channel& channel, const Opening& opening, std::string_view op, const json::Value& args);
  void OnProcess(Channel& channel, const Opening& opening, std::string_view op, const json::Value& args);
  void Follow(Channel& channel, const Opening& opening, Background& run, FollowPlan plan);
  Result<Background*> NewProgram(std::string_view kind, std::string_view op, const json::Value& args,
                                 const struct ProgramStart& start);
  Result<std::string> NewHandle() const;
  void OpenContext(Channel& channel, uint32_t id, ContextRequest request);
  bool AnswerContexts(Channel& channel, uint32_t id, std::string_view op, const json::Value& args);
  void OnFinished(Stream& stream);
  void ContinueShutdown();

  Loop& loop_;
  ServerOptions options_;
  SupervisorPool pool_;
  OomCounter oom_;
  StreamContext context_;
  ContextTable contexts_;
  BackgroundTable background_;
  std::string boot_id_;
  int64_t started_ns_ = NowNs();
  Fd signals_;
  Watch signal_watch_;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<std::unique_ptr<ContextStream>> context_streams_;
  std::vector<std::unique_ptr<BackgroundStream>> background_streams_;
  std::vector<std::unique_ptr<Dialer>> dialers_;
  Timer idle_;
  Timer give_up_;
  bool stopping_ = false;
  bool done_with_machine_ = false;
};

}  // namespace csb::agent
