// SPDX-License-Identifier: Apache-2.0
//
// session.h: one MCP client's conversation, whatever carries its messages.
//
//   McpSession session(service, options, [](std::string line) { Write(line); });
//   session.OnMessage(line);                       // as messages come
//   poll(…, session.NextWake());                   // then session.OnTime(): progress of silent calls
//   session.CancelAll();                           // the client is gone: nothing is sent any more
//
// Serves the legacy revisions 2024-11-05 to 2025-11-25 (revision.h). A request of the later era
// without initialize is refused with the versions that are served.
//
// Threads: OnMessage, OnTime and NextWake one at a time; calls of tools go on meanwhile and answer
// from the service's threads. `send` gets one message without a newline, one call at a time, on
// any thread; it must neither block nor call back. The session may be deleted while calls run:
// they are cancelled and send nothing.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/service_client.h"
#include "plugins/mcp/tools.h"

namespace csb::mcp {

class McpSession {
 public:
  using Clock = std::chrono::steady_clock;
  using Send = std::function<void(std::string message)>;

  static constexpr size_t kMaxCalls = 256;  // under way at once
  // A call with a progress token says that it lives at least this often, and at most that often.
  static constexpr std::chrono::milliseconds kHeartbeat{5'000};
  static constexpr std::chrono::milliseconds kProgressGap{250};

  McpSession(ServiceClient service, ToolOptions options, Send send);
  ~McpSession();
  McpSession(const McpSession&) = delete;
  McpSession& operator=(const McpSession&) = delete;

  // One message (or, in the revision that has them, a batch) of any content.
  void OnMessage(std::string_view text);
  // For a message that the transport had to drop: answers with a parse error that says why.
  void OnUnreadable(std::string_view why);

  // When OnTime is to be called; nothing while no call waits for progress.
  std::optional<Clock::time_point> NextWake() const;
  void OnTime(Clock::time_point now = Clock::now());

  // No call is under way: everything that came is answered or cancelled. Asked after the `send` of a call's
  // answer, it counts that call no more.
  bool Idle() const;

  // Cancels what runs; nothing is sent for it, nor for anything else from here on.
  void CancelAll();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb::mcp
