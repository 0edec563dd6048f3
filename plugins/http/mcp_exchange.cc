// SPDX-License-Identifier: Apache-2.0
//
// A message of an MCP client (Streamable HTTP): the session (plugins/mcp/session.h) is made for it alone. One
// document answers it, or server-sent events once there is something to tell before the answer.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>
#include <vector>

#include "plugins/http/exchanges.h"
#include "plugins/http/service_call.h"
#include "plugins/mcp/session.h"

namespace csb::http {
namespace {

// Below this a body is not worth being counted.
constexpr size_t kUncounted = 16 << 10;

class McpMessage;

// From the session's threads to the exchange's; outlives both.
struct Mailbox {
  explicit Mailbox(McpMessage* e) : exchange(e) {}
  McpMessage* exchange;  // null once it is gone; on its thread only
  std::mutex mutex;
  std::vector<mcp::Outgoing> queue;
  bool posted = true;  // while the first message is worked on, its answer needs no wake-up
};

class McpMessage final : public Exchange {
 public:
  McpMessage(App& app, ThreadState& thread, McpIncoming in, Responder& out)
      : app_(app),
        thread_(thread),
        in_(std::move(in)),
        out_(out),
        share_(app.memory),
        mailbox_(std::make_shared<Mailbox>(this)) {}

  ~McpMessage() override {
    mailbox_->exchange = nullptr;
    // A client that goes has cancelled its request in the era without initialize, and before it has not.
    if (session_ && !session_->stateless()) session_->Detach();
  }

  uint64_t body_limit() const override { return app_.settings.max_body; }

  size_t TakeBody(std::string_view bytes) override {
    if (answered_) return bytes.size();
    if (body_.size() + bytes.size() > kUncounted && !share_.Grow(3 * bytes.size())) {
      answered_ = true;
      out_.Respond(
          ErrorReply({CSB_E_NO_CAPACITY, "too many large requests are under way", "try again soon", true}));
      return bytes.size();
    }
    body_.append(bytes);
    return bytes.size();
  }

  void OnBodyEnd() override {
    if (answered_) return;
    session_ = std::make_unique<mcp::McpSession>(
        app_.mcp,
        [mailbox = mailbox_, way = thread_.way](mcp::Outgoing out) { Post(mailbox, way, std::move(out)); },
        std::move(in_.session));
    session_->OnMessage(body_);
    std::string().swap(body_);
    Deliver();
    if (answered_) return;
    if (session_->Idle()) {
      // The last answer may have come between the two looks.
      Deliver();
      if (!answered_) Answer({.status = 202, .content_type = ""});
      return;
    }
    if (!in_.takes_json) Begin();
    Arm();
  }

  void OnTimer() override {
    if (answered_) return;
    session_->OnTime();
    Deliver();
    if (answered_) return;
    if (mcp::McpSession::Clock::now() >= quiet_until_) {
      Told();
      if (in_.takes_events) {
        Begin();
        out_.Write(":\n\n", 0);
      }
    }
    Arm();
  }

  // What has come, in its order.
  void Deliver() {
    std::vector<mcp::Outgoing> queue;
    {
      const std::lock_guard lock(mailbox_->mutex);
      queue.swap(mailbox_->queue);
      mailbox_->posted = false;
    }
    for (mcp::Outgoing& out : queue)
      if (!answered_) Deliver(std::move(out));
  }

 private:
  static void Post(const std::shared_ptr<Mailbox>& mailbox, const std::shared_ptr<WayBack>& way,
                   mcp::Outgoing out) {
    {
      const std::lock_guard lock(mailbox->mutex);
      mailbox->queue.push_back(std::move(out));
      if (mailbox->posted) return;
      mailbox->posted = true;
    }
    way->Post([mailbox] {
      if (mailbox->exchange != nullptr) mailbox->exchange->Deliver();
    });
  }

  void Deliver(mcp::Outgoing out) {
    if (out.kind == mcp::Outgoing::Kind::kAnswer) {
      if (out_.begun() || !in_.takes_json) {
        Event(out.text);
        answered_ = true;
        return out_.End();
      }
      Reply reply{.status = out.http_status, .body = std::move(out.text)};
      if (out.opens_session) reply.fields = "Mcp-Session-Id: " + mcp::RandomName() + "\r\n";
      return Answer(std::move(reply));
    }
    if (in_.takes_events) Event(out.text);
  }

  void Answer(Reply reply) {
    answered_ = true;
    out_.Respond(std::move(reply));
  }

  void Begin() {
    if (!out_.begun())
      out_.Begin(
          {.content_type = kEventStream, .fields = "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n"},
          {});
  }

  void Event(const std::string& text) {
    Begin();
    out_.Write("event: message\ndata: " + text + "\n\n", 0);
    Told();
  }

  void Told() {
    quiet_until_ =
        mcp::McpSession::Clock::now() + std::chrono::duration_cast<mcp::McpSession::Clock::duration>(
                                            std::chrono::duration<double>(app_.settings.heartbeat));
  }

  void Arm() {
    if (quiet_until_ == mcp::McpSession::Clock::time_point()) Told();
    auto next = std::max(quiet_until_, mcp::McpSession::Clock::now());
    if (const auto wake = session_->NextWake()) next = std::min(next, *wake);
    const std::chrono::duration<double> left = next - mcp::McpSession::Clock::now();
    out_.CallBack(std::max(0.01, left.count()));
  }

  App& app_;
  ThreadState& thread_;
  McpIncoming in_;
  Responder& out_;
  MemoryShare share_;
  std::string body_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::unique_ptr<mcp::McpSession> session_;
  mcp::McpSession::Clock::time_point quiet_until_;
  bool answered_ = false;
};

}  // namespace

std::unique_ptr<Exchange> McpMessageExchange(App& app, ThreadState& thread, McpIncoming in, Responder& out) {
  return std::make_unique<McpMessage>(app, thread, std::move(in), out);
}

}  // namespace csb::http
