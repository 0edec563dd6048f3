// SPDX-License-Identifier: Apache-2.0
//
// session.h: one MCP client's conversation, whatever carries its messages and whatever is offered.
//
//   McpSession session(provider, [](Outgoing out) { Write(std::move(out.text)); });
//   session.OnMessage(line);                       // as messages come
//   poll(…, session.NextWake());                   // then session.OnTime(): progress of silent calls
//   session.CancelAll();                           // the client is gone: nothing is sent any more
//
// Serves the legacy revisions 2024-11-05 to 2025-11-25, which begin with initialize, and 2026-07-28,
// whose requests say in _meta what they are (revision.h), side by side: each request is judged alone.
//
// Threads: OnMessage, OnTime and NextWake one at a time; requests go on meanwhile and are answered
// from any thread. `send` gets one message without a newline, one call at a time, on any thread; it
// must neither block nor call back. The session may be deleted while requests are under way: they
// are given up and send nothing.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/mcp/http_rules.h"
#include "plugins/mcp/peers.h"
#include "plugins/mcp/provider.h"

namespace csb::mcp {

struct Outgoing {
  enum class Kind { kAnswer, kNotification, kQuestion };
  std::string text;
  Kind kind = Kind::kAnswer;
  int http_status = 200;       // of an answer that is the whole response
  bool opens_session = false;  // the answer of initialize
};

struct SessionOptions {
  // Over HTTP a session is one request: what `initialize` settled elsewhere is in the headers.
  bool http = false;
  HttpHeaders headers;
  std::shared_ptr<Peers> peers;  // null: a client's messages all come over this session
  std::string scope;             // of the client, among peers; empty: it cannot be told from others
  std::string default_user;      // empty: the provider's
  Access access;                 // empty: every user
};

class McpSession {
 public:
  using Clock = std::chrono::steady_clock;
  using Send = std::function<void(Outgoing out)>;

  static constexpr size_t kMaxCalls = 256;  // requests under way at once
  // A request with a progress token says that it lives at least this often, and at most that often.
  static constexpr std::chrono::milliseconds kHeartbeat{5'000};
  static constexpr std::chrono::milliseconds kProgressGap{250};

  McpSession(std::shared_ptr<Provider> provider, Send send, SessionOptions options = {});
  ~McpSession();
  McpSession(const McpSession&) = delete;
  McpSession& operator=(const McpSession&) = delete;

  // One message (or, in the revision that has them, a batch) of any content.
  void OnMessage(std::string_view text);
  // For a message that the transport had to drop: answers with a parse error that says why.
  void OnUnreadable(std::string_view why);

  // When OnTime is to be called; nothing while no request waits for progress.
  std::optional<Clock::time_point> NextWake() const;
  void OnTime(Clock::time_point now = Clock::now());

  // No request is under way: everything that came is answered or given up. Asked after the `send` of an
  // answer, it counts that request no more.
  bool Idle() const;
  // The same, but for requests that only listen, and so have no end of their own.
  bool OnlyListens() const;
  // The last request was one of the era without initialize.
  bool stateless() const;

  // Cancels what runs; nothing is sent for it, nor for anything else from here on.
  void CancelAll();
  // Nothing is sent from here on, and what runs runs on, without this object too.
  void Detach();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace csb::mcp
