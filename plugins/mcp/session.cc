// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/session.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "plugins/mcp/jsonrpc.h"
#include "plugins/mcp/result_members.h"
#include "plugins/mcp/revision.h"

namespace csb::mcp {
namespace {

constexpr int kBadRequest = 400, kNotFound = 404;

// What the era without initialize took away, so that no provider has to know.
bool GoneFromModern(std::string_view method) {
  return method == "initialize" || method == "ping" || method == "logging/setLevel" ||
         method == "resources/subscribe" || method == "resources/unsubscribe";
}
bool OnlyModern(std::string_view method) {
  return method == "server/discover" || method == "subscriptions/listen";
}

std::string_view Text(const json::Value* value) {
  if (value == nullptr || !value->IsString()) return {};
  return {value->GetString(), value->GetStringLength()};
}

const json::Value* MetaOf(const Message& message, std::string_view member) {
  const json::Value* meta = message.params == nullptr ? nullptr : json::Find(*message.params, "_meta");
  return meta == nullptr ? nullptr : json::Find(*meta, member);
}

std::string UnknownMethod(std::string_view method) {
  return "unknown method: " + std::string(method.substr(0, 200));
}

}  // namespace

struct McpSession::Impl : std::enable_shared_from_this<McpSession::Impl> {
  // Answers of a batch go out together, once the last is there.
  struct Batch {
    size_t open = 0;
    std::string answers;
    void Add(std::string_view answer) { answers.append(answers.empty() ? "" : ",").append(answer); }
  };

  // A request that the provider has. Its changing members belong to the session's mu.
  class PendingCall final : public Pending, public PeerCall {
   public:
    PendingCall(std::shared_ptr<Impl> session, const Message& message, const Revision& revision,
                std::shared_ptr<Batch> batch)
        : id_(message.id),
          method_(message.method),
          revision_(revision),
          token_(IdText(MetaOf(message, "progressToken"))),
          started_(Clock::now()),
          session_(std::move(session)),
          batch_(std::move(batch)),
          last_progress_(started_) {}

    void Result(std::string_view object) override {
      session_->Answered(*this, {ResultLine(id_, Complete(object, "complete"))});
    }
    void InputRequired(std::string_view object) override {
      session_->Answered(*this, {ResultLine(id_, Complete(object, "input_required"))});
    }
    void Fail(int code, std::string_view message, std::string_view data_json) override {
      Outgoing out{ErrorLine(id_, code, message, data_json)};
      if (revision_.stateless && code == kMethodNotFound) out.http_status = kNotFound;
      if (revision_.stateless && code == kMissingCapability) out.http_status = kBadRequest;
      session_->Answered(*this, std::move(out));
    }
    bool WantsProgress() const override { return !token_.empty(); }
    void Progress(std::string_view message) override {
      if (token_.empty() || message.empty()) return;
      const std::lock_guard lock(session_->mu);
      const auto now = Clock::now();
      if (!session_->UnderWay(*this) || now - last_progress_ < kProgressGap) return;
      SendProgress(++progress_, 0, message, now);
    }
    void Step(double done, double total, std::string_view message) override {
      if (token_.empty()) return;
      const std::lock_guard lock(session_->mu);
      if (session_->UnderWay(*this)) SendProgress(done, total, message, Clock::now());
    }
    void Notify(std::string_view method, std::string_view params_json) override {
      const std::lock_guard lock(session_->mu);
      if (!session_->UnderWay(*this) || !session_->send) return;
      session_->send({NotificationLine(method, params_json), Outgoing::Kind::kNotification});
    }
    void Ask(std::string_view method, std::string_view params_json, Peers::Then then) override {
      const std::string question = session_->peers->Question(session_->options.scope, std::move(then));
      const std::lock_guard lock(session_->mu);
      if (question.empty() || !session_->UnderWay(*this) || !session_->send)
        return session_->peers->Forget(session_->options.scope, question);
      question_ = question;
      std::string line = R"({"jsonrpc":"2.0","id":)" + question + R"(,"method":")";
      line.append(method).append(R"(","params":)").append(params_json).append("}");
      session_->send({std::move(line), Outgoing::Kind::kQuestion});
    }
    void OnCancel(std::function<void()> stop) override {
      {
        const std::lock_guard lock(session_->mu);
        if (!given_up_) {
          if (session_->UnderWay(*this)) std::swap(stop_, stop);
          return;
        }
      }
      stop();
    }
    std::string_view id() const override { return id_; }

    void GiveUp() override {
      const std::shared_ptr<Impl> session = session_;
      std::function<void()> stop;
      {
        const std::lock_guard lock(session->mu);
        if (!session->UnderWay(*this)) return;
        given_up_ = true;
        stop = std::move(stop_);
        keep_ = std::move(session->calls.find(id_)->second);
        session->calls.erase(id_);
        session->Leave(batch_);
      }
      session->Over(*this);
      if (stop) stop();
      const std::shared_ptr<PendingCall> last = std::move(keep_);
    }

    // With mu held.
    void Alive(Clock::time_point now) {
      if (token_.empty() || now < last_progress_ + kHeartbeat) return;
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - started_).count();
      SendProgress(++progress_, 0, "running for " + std::to_string(seconds) + " s", now);
    }
    std::optional<Clock::time_point> due() const {
      return token_.empty() ? std::nullopt : std::optional(last_progress_ + kHeartbeat);
    }

    const std::string id_, method_;
    const Revision& revision_;
    const std::string token_;  // of progress, as JSON text; empty: none asked for
    const Clock::time_point started_;
    const std::shared_ptr<Impl> session_;
    const std::shared_ptr<Batch> batch_;
    std::string question_;  // the last one asked
    std::function<void()> stop_;
    bool given_up_ = false;

   private:
    std::string Complete(std::string_view object, std::string_view type) const {
      return revision_.stateless ? WithResultMembers(object, type, method_, session_->provider->info())
                                 : std::string(object);
    }
    void SendProgress(double done, double total, std::string_view message, Clock::time_point now) {
      last_progress_ = now;
      json::Buffer buffer;
      json::Writer w(buffer);
      w.StartObject();
      json::Key(w, "progressToken");
      w.RawValue(token_.data(), token_.size(), rapidjson::kStringType);
      json::Key(w, "progress");
      if (done == static_cast<double>(static_cast<int64_t>(done)))
        w.Int64(static_cast<int64_t>(done));
      else
        w.Double(done);
      if (total > 0) json::Member(w, "total", total);
      if (revision_.progress_message && !message.empty()) json::Member(w, "message", message);
      w.EndObject();
      if (session_->send)
        session_->send({NotificationLine("notifications/progress", {buffer.GetString(), buffer.GetSize()}),
                        Outgoing::Kind::kNotification});
    }

    Clock::time_point last_progress_;
    double progress_ = 0;
    std::shared_ptr<PendingCall> keep_;  // while GiveUp runs
  };

  Impl(std::shared_ptr<Provider> p, Send f, SessionOptions o)
      : provider(std::move(p)),
        options(std::move(o)),
        peers(options.peers ? options.peers : std::make_shared<Peers>()),
        send(std::move(f)) {
    if (!options.http) return;
    // A revision before the header existed, when it is missing (revision 2025-06-18, Transports).
    const Revision* named = FindLegacy(options.headers.version.value_or("2025-03-26"));
    if (named != nullptr) revision = named;
    initialized = true;
  }

  const std::shared_ptr<Provider> provider;
  const SessionOptions options;
  const std::shared_ptr<Peers> peers;
  const Revision* revision = &kNewestLegacy;  // the thread of OnMessage only
  bool initialized = false;
  bool last_stateless = false;
  std::function<bool(std::string_view, std::string_view)> tell;  // made when it is first needed

  mutable std::mutex mu;
  Send send;  // empty: closed
  std::map<std::string, std::shared_ptr<PendingCall>> calls;

  // ---- with mu held ----

  void Put(const std::shared_ptr<Batch>& batch, Outgoing out) {
    if (!send) return;
    if (batch)
      batch->Add(out.text);
    else
      send(std::move(out));
  }
  // One message of the batch is done with, answered or not.
  void Leave(const std::shared_ptr<Batch>& batch) {
    if (!batch || --batch->open > 0) return;
    if (send && !batch->answers.empty()) send({"[" + std::move(batch->answers) + "]"});
  }
  // Not by id alone: a client may use that of a cancelled request again.
  bool UnderWay(const PendingCall& call) const {
    const auto it = calls.find(call.id_);
    return it != calls.end() && it->second.get() == &call;
  }

  // ---- without mu ----

  void Reply(const std::shared_ptr<Batch>& batch, Outgoing out) {
    const std::lock_guard lock(mu);
    Put(batch, std::move(out));
  }

  // What others hold of a call that has ended.
  void Over(const PendingCall& call) {
    if (!options.scope.empty()) peers->Remove(options.scope, call.id_, &call);
    if (!call.question_.empty()) peers->Forget(options.scope, call.question_);
  }

  void Answered(PendingCall& call, Outgoing out) {
    const std::shared_ptr<Impl> self = shared_from_this();
    std::shared_ptr<PendingCall> last;  // let go of without the lock, as is what it would have stopped
    std::function<void()> stop;
    {
      const std::lock_guard lock(mu);
      if (!UnderWay(call)) return;  // given up: nothing further is sent for it
      const auto it = calls.find(call.id_);
      last = std::move(it->second);
      calls.erase(it);
      stop = std::move(call.stop_);
      Put(call.batch_, std::move(out));
      Leave(call.batch_);
    }
    Over(call);
  }

  void OnText(std::string_view text) {
    const Incoming in = ParseText(text);
    std::shared_ptr<Batch> batch;
    if (in.batch) {
      if (!revision->batches || !initialized)
        return Reply(nullptr, {ErrorLine("", kInvalidRequest,
                                         "batches are not part of revision " + std::string(revision->name)),
                               Outgoing::Kind::kAnswer, kBadRequest});
      batch = std::make_shared<Batch>();
      batch->open = 1;  // this loop's own, so that an early answer does not close it
    }
    for (const Message& message : in.messages) {
      {
        const std::lock_guard lock(mu);
        if (batch) ++batch->open;
      }
      if (OnOne(message, batch)) {
        const std::lock_guard lock(mu);
        Leave(batch);
      }
    }
    const std::lock_guard lock(mu);
    Leave(batch);
  }

  // False: the message is answered by a PendingCall, and leaves its batch then.
  bool OnOne(const Message& message, const std::shared_ptr<Batch>& batch) {
    switch (message.kind) {
      case Message::Kind::kInvalid:
        Reply(batch,
              {ErrorLine(message.id, message.code, message.error), Outgoing::Kind::kAnswer, kBadRequest});
        return true;
      case Message::Kind::kResponse:
        if (!message.id.empty()) peers->Answer(options.scope, message.id, *message.whole);
        return true;
      case Message::Kind::kNotification:
        if (message.method == "notifications/cancelled") OnCancelled(message.params);
        return true;
      case Message::Kind::kRequest:
        last_stateless = IsModern(message);
        return last_stateless ? OnModern(message, batch) : OnLegacy(message, batch);
    }
    return true;
  }

  bool IsModern(const Message& message) const {
    const json::Value* named = MetaOf(message, kMetaProtocolVersion);
    if (options.http) {
      const auto& header = options.headers.version;
      return named != nullptr || (header && FindLegacy(*header) == nullptr) ||
             (!header && message.method == "server/discover");
    }
    if (initialized && FindLegacy(Text(named)) != nullptr) return false;
    return named != nullptr || (!initialized && message.method == "server/discover");
  }

  bool OnModern(const Message& message, const std::shared_ptr<Batch>& batch) {
    const auto refuse = [&](int code, std::string_view why, std::string_view data = {}) {
      Reply(batch, {ErrorLine(message.id, code, why, data), Outgoing::Kind::kAnswer,
                    code == kMethodNotFound ? kNotFound : kBadRequest});
      return true;
    };
    const json::Value* version = MetaOf(message, kMetaProtocolVersion);
    const json::Value* capabilities = MetaOf(message, kMetaCapabilities);
    const auto& header = options.headers.version;
    if (version == nullptr && options.http && header && *header != kModern.name)
      return refuse(kUnsupportedVersion, "unsupported protocol version", VersionData(*header));
    for (const auto& [member, good] :
         {std::pair(kMetaProtocolVersion, version != nullptr && version->IsString()),
          std::pair(kMetaCapabilities, capabilities != nullptr && capabilities->IsObject())})
      if (!good) return refuse(kInvalidParams, "_meta: " + std::string(member) + " is required");
    if (options.http)
      if (const auto why = HeaderMismatch(options.headers, Text(version), message.method, message.params))
        return refuse(kHeaderMismatch, *why);
    if (Text(version) != kModern.name)
      return refuse(kUnsupportedVersion, "unsupported protocol version", VersionData(Text(version)));
    if (GoneFromModern(message.method)) return refuse(kMethodNotFound, UnknownMethod(message.method));
    if (message.method == "server/discover") {
      Reply(batch, {ResultLine(message.id, DiscoverResult(*provider))});
      return true;
    }
    return Hand(message, batch, kModern, capabilities, Text(MetaOf(message, kMetaLogLevel)));
  }

  bool OnLegacy(const Message& message, const std::shared_ptr<Batch>& batch) {
    {
      const std::lock_guard lock(mu);
      if (calls.count(message.id) > 0) return RefuseDuplicate(batch, message.id);
    }
    if (message.method == "initialize") {
      if (batch)
        Reply(batch, {ErrorLine(message.id, kInvalidRequest, "initialize must not be part of a batch")});
      else
        OnInitialize(message);
      return true;
    }
    if (message.method == "ping") {
      Reply(batch, {ResultLine(message.id, "{}")});
      return true;
    }
    if (OnlyModern(message.method)) {
      Reply(batch, {ErrorLine(message.id, kMethodNotFound, UnknownMethod(message.method))});
      return true;
    }
    return Hand(message, batch, *revision, nullptr, "info");
  }

  // With mu held. Answered without the id: an answer with it would be taken for that of the first.
  bool RefuseDuplicate(const std::shared_ptr<Batch>& batch, std::string_view id) {
    Put(batch,
        {ErrorLine("", kInvalidRequest, "id: " + std::string(id) + " is in use by a request under way"),
         Outgoing::Kind::kAnswer, kBadRequest});
    return true;
  }

  void OnInitialize(const Message& message) {
    const auto asked =
        message.params == nullptr ? std::nullopt : json::GetString(*message.params, "protocolVersion");
    revision = &NegotiateRevision(asked.value_or(""));  // never an error: the client says whether it can
    initialized = true;
    Outgoing out{ResultLine(message.id, InitializeResult(*provider, *revision, !options.http))};
    out.opens_session = true;
    Reply(nullptr, std::move(out));
  }

  bool Hand(const Message& message, const std::shared_ptr<Batch>& batch, const Revision& by,
            const json::Value* capabilities, std::string_view log_level) {
    auto call = std::make_shared<PendingCall>(shared_from_this(), message, by, batch);
    {
      const std::lock_guard lock(mu);
      if (calls.count(call->id_) > 0) return RefuseDuplicate(batch, call->id_);
      if (calls.size() >= kMaxCalls) {
        Put(batch, {ErrorLine(call->id_, kServerBusy, "too many calls are under way; wait for one to end")});
        return true;
      }
      calls.emplace(call->id_, call);
    }
    if (!options.scope.empty()) peers->Add(options.scope, call->id_, call);
    static const std::function<bool(std::string_view, std::string_view)> kNoWay;
    const bool tells = !by.stateless && !options.http;
    if (tells && !tell)
      tell = [weak = weak_from_this()](std::string_view method, std::string_view params) {
        const auto self = weak.lock();
        return self && self->Tell(method, params);
      };
    const ProviderRequest request{by,
                                  message.method,
                                  message.params,
                                  capabilities,
                                  log_level,
                                  options.default_user,
                                  options.access,
                                  tells ? tell : kNoWay,
                                  tells ? this : nullptr};
    if (!provider->Handle(request, call)) call->Fail(kMethodNotFound, UnknownMethod(message.method), {});
    return false;
  }

  bool Tell(std::string_view method, std::string_view params) {
    const std::lock_guard lock(mu);
    if (!send) return false;
    send({NotificationLine(method, params), Outgoing::Kind::kNotification});
    return true;
  }

  void OnCancelled(const json::Value* params) {
    const std::string id = params == nullptr ? std::string() : IdText(json::Find(*params, "requestId"));
    if (id.empty()) return;
    std::shared_ptr<PendingCall> call;
    {
      const std::lock_guard lock(mu);
      const auto it = calls.find(id);
      if (it != calls.end()) call = it->second;
    }
    if (call)
      call->GiveUp();
    else if (!options.scope.empty())
      peers->Cancel(options.scope, id);  // answered already, or never there: nothing
  }

  void Close() {
    std::vector<std::shared_ptr<PendingCall>> running;
    {
      const std::lock_guard lock(mu);
      send = nullptr;
      for (const auto& [id, call] : calls) running.push_back(call);
    }
    for (const auto& call : running) call->GiveUp();
    provider->OnSessionEnd(this);
  }
};

McpSession::McpSession(std::shared_ptr<Provider> provider, Send send, SessionOptions options)
    : impl_(std::make_shared<Impl>(std::move(provider), std::move(send), std::move(options))) {}
McpSession::~McpSession() {
  if (impl_) impl_->Close();
}

void McpSession::OnMessage(std::string_view text) { impl_->OnText(text); }

void McpSession::OnUnreadable(std::string_view why) {
  impl_->Reply(nullptr, {ErrorLine("", kParseError, why), Outgoing::Kind::kAnswer, kBadRequest});
}

std::optional<McpSession::Clock::time_point> McpSession::NextWake() const {
  std::optional<Clock::time_point> next;
  const std::lock_guard lock(impl_->mu);
  for (const auto& [id, call] : impl_->calls) {
    const auto due = call->due();
    if (due && (!next || *due < *next)) next = due;
  }
  return next;
}

void McpSession::OnTime(Clock::time_point now) {
  const std::lock_guard lock(impl_->mu);
  for (const auto& [id, call] : impl_->calls) call->Alive(now);
}

bool McpSession::Idle() const {
  const std::lock_guard lock(impl_->mu);
  return impl_->calls.empty();
}

bool McpSession::OnlyListens() const {
  const std::lock_guard lock(impl_->mu);
  return std::all_of(impl_->calls.begin(), impl_->calls.end(),
                     [](const auto& call) { return call.second->method_ == "subscriptions/listen"; });
}

bool McpSession::stateless() const { return impl_->last_stateless; }

void McpSession::CancelAll() { impl_->Close(); }

void McpSession::Detach() {
  {
    const std::lock_guard lock(impl_->mu);
    impl_->send = nullptr;
  }
  impl_.reset();
}

}  // namespace csb::mcp
