// SPDX-License-Identifier: Apache-2.0
//
// A terminal over a WebSocket: starts a process that has one (or joins one), says 101 once that is there,
// then hands bytes on both ways within the credit of each side. A connection that is lost ends the process,
// unless it was asked to stay.
#include <charconv>
#include <map>
#include <memory>
#include <string>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/service_call.h"
#include "plugins/http/web_socket_codec.h"

namespace csb::http {
namespace {

using Op = WebSocketOpcode;

constexpr uint64_t kCredit = 256 << 10;
constexpr size_t kMaxMessage = 64 << 10;
// Keys that wait for a program which does not read; more is not read from the client.
constexpr size_t kMaxHeld = 64 << 10;
constexpr size_t kMaxOrders = 16;  // resizes and signals under way
constexpr const char* kShell = "if command -v bash >/dev/null 2>&1; then exec bash -l; else exec sh -l; fi";

// A call nobody waits for: it is only to be done.
class Forgotten final : public CallHandler {
 public:
  void OnOutput(Call& call, uint32_t, std::string_view data) override { call.Credit(data.size()); }
  void OnDone(Call&, const OutcomeView&) override {}
};

class Terminal final : public Exchange {
 public:
  Terminal(App& app, ThreadState& thread, Incoming in, Responder& out)
      : app_(app), thread_(thread), in_(std::move(in)), out_(out), reader_(kMaxMessage) {}

  ~Terminal() override {
    if (start_) start_->Abandon();
    if (attach_) attach_->Abandon();
    for (auto& [order, call] : orders_) call->Abandon();
    if (ended_ || handle_.empty() || keep_) return;
    // Nobody looks at it any more: it ends with all it started.
    const std::string payload = HandlePayload();
    const RequestView request{.op = CSB_OP_PROCESS_REMOVE,
                              .user = in_.user,
                              .request_id = in_.request_id,
                              .payload = payload,
                              .output_credit = kDefaultCredit};
    if (auto gone = app_.service.Submit(request, std::make_shared<Forgotten>()); !gone)
      app_.host.LogInfo("terminal: cannot end " + handle_ + ": " + gone.error().message);
  }

  void OnBodyEnd() override {
    keep_ = in_.target.Get("keep") == "true" || in_.target.Get("handle");
    for (const char* name : {"rows", "cols", "command", "handle", "keep"})
      if (in_.target.Repeated(name))
        return Refuse({CSB_E_INVALID, std::string(name) + ": is given twice", "", false});
    if (const auto handle = in_.target.Get("handle")) {
      if (!utf8::Valid(*handle)) return Refuse({CSB_E_INVALID, "handle: is not valid UTF-8", "", false});
      handle_ = *handle;
      return Attach();
    }
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    const auto command = in_.target.Get("command");
    if (command && !utf8::Valid(*command))
      return Refuse({CSB_E_INVALID, "command: is not valid UTF-8", "", false});
    json::Member(w, "command", command ? *command : std::string_view(kShell));
    json::Key(w, "terminal");
    w.StartObject();
    for (const char* side : {"rows", "cols"}) {
      const auto text = in_.target.Get(side);
      if (!text) continue;
      int number = 0;
      const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
      if (error != std::errc() || end != text->data() + text->size())
        return Refuse({CSB_E_INVALID, std::string(side) + ": must be a whole number", "", false});
      json::Member(w, side, number);
    }
    w.EndObject();
    w.EndObject();
    Submit(CSB_OP_PROCESS_START, {buffer.GetString(), buffer.GetSize()}, false, started_, start_);
  }

  // ---- from the client ----

  size_t TakeBody(std::string_view bytes) override {
    if (closing_) return bytes.size();
    if (held_.size() > kMaxHeld || orders_.size() > kMaxOrders) return 0;  // until there is credit
    const std::string_view taken = bytes.substr(0, kMaxMessage);
    const InTake in_take(taking_);
    reader_.Append(taken);
    while (auto message = reader_.Next()) {
      OnMessage(*message);
      if (closing_) return bytes.size();
    }
    if (reader_.error() != 0) Close(reader_.error(), "the message breaks the protocol, or is too large");
    return taken.size();
  }

  void OnSent(uint64_t credit) override {
    if (attach_ && credit > 0) attach_->Credit(credit);
  }

  void OnTimer() override {
    if (closing_) return;
    out_.Write(WebSocketFrame(Op::kPing, {}), 0);
    out_.CallBack(app_.settings.heartbeat);
  }

 private:
  struct InTake {
    explicit InTake(bool& flag) : taking(flag) { taking = true; }
    ~InTake() { taking = false; }
    bool& taking;
  };

  // The service's answers to one of our operations.
  struct Started final : CallEvents {
    explicit Started(Terminal& owner) : t(owner) {}
    void OnOutput(uint32_t, std::string) override {}
    void OnEvent(uint32_t, std::string_view) override {}
    void OnInputCredit(uint64_t) override {}
    void OnDone(const OutcomeView& outcome) override { t.OnStarted(outcome); }
    Terminal& t;
  };
  struct Attached final : CallEvents {
    explicit Attached(Terminal& owner) : t(owner) {}
    void OnOutput(uint32_t, std::string data) override {
      t.Answer();
      const uint64_t size = data.size();
      t.out_.Write(WebSocketFrame(Op::kBinary, data), size);
    }
    void OnEvent(uint32_t, std::string_view) override {}
    void OnInputCredit(uint64_t bytes) override {
      t.Answer();
      t.input_credit_ += bytes;
      t.Feed();
    }
    void OnDone(const OutcomeView& outcome) override { t.OnEnded(outcome); }
    Terminal& t;
  };
  struct Ordered final : CallEvents {
    Ordered(Terminal& owner, uint64_t number) : t(owner), order(number) {}
    void OnOutput(uint32_t, std::string) override {}
    void OnEvent(uint32_t, std::string_view) override {}
    void OnInputCredit(uint64_t) override {}
    void OnDone(const OutcomeView& outcome) override { t.OnOrdered(order, outcome); }
    Terminal& t;
    uint64_t order;
  };

  bool Submit(uint32_t op, std::string_view payload, bool input, CallEvents& events,
              std::shared_ptr<ServiceCall>& call) {
    const RequestView request{.op = op,
                              .flags = input ? CSB_REQUEST_INPUT : 0u,
                              .user = in_.user,
                              .request_id = in_.request_id,
                              .payload = payload,
                              .output_credit = kCredit};
    auto made = ServiceCall::Start(app_.service, thread_.way, request, events);
    if (!made) {
      Refuse(made.error());
      return false;
    }
    call = *std::move(made);
    return true;
  }

  std::string HandlePayload(std::string_view more = {}) const {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "handle", std::string_view(handle_));
    w.EndObject();
    std::string text(buffer.GetString(), buffer.GetSize());
    if (!more.empty()) text.insert(text.size() - 1, "," + std::string(more));
    return text;
  }

  void OnStarted(const OutcomeView& outcome) {
    start_.reset();
    if (!outcome.ok()) return Refuse(outcome.error());
    const auto info = json::ParseObject(outcome.result);
    handle_ = info ? json::GetString(*info, "handle").value_or("") : "";
    if (handle_.empty()) return Refuse({CSB_E_INTERNAL, "the backend started no process", "", false});
    Attach();
  }

  void Attach() { Submit(CSB_OP_PROCESS_ATTACH, HandlePayload("\"offset\":0"), true, attached_, attach_); }

  // The first that comes of the process says that it is there.
  void Answer() {
    if (upgraded_) return;
    upgraded_ = true;
    std::string fields =
        "Upgrade: websocket\r\nSec-WebSocket-Accept: " + WebSocketAccept(in_.web_socket_key) + "\r\n";
    if (!in_.web_socket_protocol.empty())
      fields += "Sec-WebSocket-Protocol: " + in_.web_socket_protocol + "\r\n";
    fields += "X-Process-Handle: " + handle_ + "\r\n";
    out_.Upgrade(fields);
    out_.CallBack(app_.settings.heartbeat);
  }

  void OnMessage(const WebSocketReader::Message& message) {
    switch (message.opcode) {
      case Op::kBinary:
        held_ += message.payload;
        return Feed();
      case Op::kText:
        return OnText(message.payload);
      case Op::kPing:
        return out_.Write(WebSocketFrame(Op::kPong, message.payload), 0);
      case Op::kClose:
        return Close(1000, "");
      default:
        return;
    }
  }

  void OnText(std::string_view text) {
    const auto doc = json::ParseObject(text);
    const auto type = doc ? json::GetString(*doc, "type") : std::nullopt;
    const auto member = [&](const char* name) {
      const json::Value* value = json::Find(*doc, name);
      return value == nullptr ? std::string("null") : json::ToString(*value);
    };
    if (type == "resize")
      return Order(CSB_OP_PROCESS_RESIZE, "\"rows\":" + member("rows") + ",\"cols\":" + member("cols"));
    if (type == "signal") return Order(CSB_OP_PROCESS_SIGNAL, "\"signal\":" + member("signal"));
    Close(1008, "text messages are {\"type\":\"resize\",…} or {\"type\":\"signal\",…}");
  }

  void Order(uint32_t op, const std::string& members) {
    // Not from inside one's own event, as OnOrdered is.
    std::erase_if(order_events_, [&](const auto& one) { return !orders_.contains(one.first); });
    const uint64_t number = ++order_count_;
    auto& events = order_events_[number];
    events = std::make_unique<Ordered>(*this, number);
    std::shared_ptr<ServiceCall> call;
    if (Submit(op, HandlePayload(members), false, *events, call)) orders_[number] = std::move(call);
  }

  // A size or a signal that was refused is told; the terminal goes on.
  void OnOrdered(uint64_t number, const OutcomeView& outcome) {
    orders_.erase(number);
    if (!outcome.ok() && !closing_ && !ended_)
      Tell("error", [&](json::Writer& w) {
        json::Member(w, "error", std::string_view(utf8::Clean(outcome.error().message)));
      });
    Want();
  }

  // From inside TakeBody it would come back there, with the same bytes.
  void Want() {
    if (!taking_ && !closing_) out_.WantBody();
  }

  void Feed() {
    while (attach_ && !held_.empty() && input_credit_ > 0) {
      const size_t n = static_cast<size_t>(std::min<uint64_t>(held_.size(), input_credit_));
      input_credit_ -= n;
      attach_->Input(std::string_view(held_).substr(0, n), false);
      held_.erase(0, n);
    }
    if (upgraded_ && held_.size() <= kMaxHeld) Want();
  }

  template <typename Members>
  void Tell(const char* type, Members members) {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "type", type);
    members(w);
    w.EndObject();
    out_.Write(WebSocketFrame(Op::kText, {buffer.GetString(), buffer.GetSize()}), 0);
  }

  void OnEnded(const OutcomeView& outcome) {
    attach_.reset();
    if (!outcome.ok()) return Refuse(outcome.error());
    Answer();
    const auto info = json::ParseObject(outcome.result);
    ended_ = info && json::GetString(*info, "state") == "exited";
    Tell("exit", [&](json::Writer& w) {
      for (const char* name : {"exit_code", "cause", "signal", "message"})
        if (const json::Value* value = info ? json::Find(*info, name) : nullptr) {
          json::Key(w, name);
          value->Accept(w);
        }
    });
    Close(1000, "");
  }

  // What fails before the 101 has a status of its own.
  void Refuse(const Error& error) {
    if (upgraded_) return Close(1011, error.message);
    if (std::exchange(closing_, true)) return;
    out_.Respond(ErrorReply(error));
  }

  void Close(uint16_t code, std::string_view reason) {
    if (std::exchange(closing_, true)) return;
    out_.Write(WebSocketFrame(Op::kClose, WebSocketClose(code, reason)), 0);
    out_.End();
  }

  App& app_;
  ThreadState& thread_;
  const Incoming in_;
  Responder& out_;
  WebSocketReader reader_;
  Started started_{*this};
  Attached attached_{*this};
  std::shared_ptr<ServiceCall> start_, attach_;
  std::map<uint64_t, std::unique_ptr<Ordered>> order_events_;  // kept: an event may still be on its way
  std::map<uint64_t, std::shared_ptr<ServiceCall>> orders_;
  uint64_t order_count_ = 0;
  std::string handle_;
  std::string held_;
  uint64_t input_credit_ = 0;
  bool taking_ = false;
  bool keep_ = false;
  bool upgraded_ = false;
  bool closing_ = false;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<Exchange> TerminalExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<Terminal>(app, thread, std::move(in), out);
}

}  // namespace csb::http
