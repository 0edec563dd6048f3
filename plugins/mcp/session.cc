// SPDX-License-Identifier: Apache-2.0
#include "plugins/mcp/session.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "clara_sandbox/operation.h"
#include "plugins/mcp/jsonrpc.h"
#include "plugins/mcp/revision.h"
#include "plugins/mcp/tool_answer.h"

namespace csb::mcp {
namespace {

constexpr std::string_view kInstructions =
    "Tools that run untrusted code in an isolated Linux sandbox. Each user has an own sandbox with own "
    "files; "
    "relative paths start at /workspace, which outlives every call. Python state is fresh for each call.";
constexpr size_t kProgressText = 200;  // bytes of the last line of output in a progress message

// The last line that has something in it, short.
std::string LastLine(std::string_view output) {
  while (!output.empty() && (output.back() == '\n' || output.back() == '\r')) output.remove_suffix(1);
  const size_t start = output.find_last_of("\r\n");
  if (start != std::string_view::npos) output.remove_prefix(start + 1);
  return utf8::Clean(output.substr(0, kProgressText));
}

}  // namespace

struct McpSession::Impl : std::enable_shared_from_this<McpSession::Impl> {
  // Answers of a batch go out together, once the last is there.
  struct Batch {
    size_t open = 0;
    std::string answers;
    void Add(std::string_view answer) { answers.append(answers.empty() ? "" : ",").append(answer); }
  };

  // A tools/call under way. `answer` belongs to the operation's events, the rest to mu.
  struct ToolCall {
    ToolCall(const Tool& tool, ToolRequest request, const Revision& revision, const ToolOptions& options)
        : answer(tool, std::move(request), revision, options),
          started(Clock::now()),
          last_progress(started) {}
    std::string id;
    ToolAnswer answer;
    std::shared_ptr<Call> call;  // null until submit has returned
    std::shared_ptr<Batch> batch;
    std::string token;  // of progress, as JSON text; empty: none asked for
    uint64_t progress = 0;
    const Clock::time_point started;
    Clock::time_point last_progress;
  };

  class Handler : public CallHandler {
   public:
    Handler(std::shared_ptr<Impl> session, std::shared_ptr<ToolCall> tool_call)
        : session_(std::move(session)), call_(std::move(tool_call)) {}
    void OnOutput(Call& call, uint32_t stream, std::string_view data) override {
      if (!call_->token.empty() && stream != CSB_STREAM_DATA) session_->OfferProgress(*call_, LastLine(data));
      call_->answer.OnOutput(call, stream, data);
    }
    void OnEvent(Call&, uint32_t event, std::string_view json) override {
      if (event == CSB_EVENT_PROGRESS && !call_->token.empty()) {
        auto doc = json::ParseObject(json);
        const auto message = doc ? json::GetString(*doc, "message") : std::nullopt;
        if (message) session_->OfferProgress(*call_, LastLine(*message));
      }
      call_->answer.OnEvent(event, json);
    }
    void OnInputCredit(Call& call, uint64_t bytes) override { call_->answer.OnInputCredit(call, bytes); }
    void OnDone(Call&, const OutcomeView& outcome) override {
      session_->Answered(*call_, call_->answer.Result(outcome));
    }

   private:
    const std::shared_ptr<Impl> session_;
    const std::shared_ptr<ToolCall> call_;
  };

  Impl(ServiceClient s, ToolOptions o, Send f) : service(s), options(std::move(o)), send(std::move(f)) {}

  const ServiceClient service;
  const ToolOptions options;
  const Revision* revision = &kNewestLegacy;  // the thread of OnMessage only
  bool initialized = false;
  uint64_t calls_made = 0;

  mutable std::mutex mu;
  Send send;  // empty: closed
  std::map<std::string, std::shared_ptr<ToolCall>> calls;

  // ---- with mu held ----

  void Put(const std::shared_ptr<Batch>& batch, std::string line) {
    if (!send) return;
    if (batch)
      batch->Add(line);
    else
      send(std::move(line));
  }
  // One message of the batch is done with, answered or not.
  void Leave(const std::shared_ptr<Batch>& batch) {
    if (!batch || --batch->open > 0) return;
    if (send && !batch->answers.empty()) send("[" + std::move(batch->answers) + "]");
  }
  void SendProgress(ToolCall& call, std::string_view message, Clock::time_point now) {
    call.last_progress = now;
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Key(w, "progressToken");
    w.RawValue(call.token.data(), call.token.size(), rapidjson::kStringType);
    json::Member(w, "progress", ++call.progress);
    if (revision_has_message) json::Member(w, "message", message);
    w.EndObject();
    if (send) send(NotificationLine("notifications/progress", {buffer.GetString(), buffer.GetSize()}));
  }
  bool revision_has_message = true;

  // ---- without mu ----

  void Reply(const std::shared_ptr<Batch>& batch, std::string line) {
    const std::lock_guard lock(mu);
    Put(batch, std::move(line));
  }

  void OfferProgress(ToolCall& call, std::string_view message) {
    if (message.empty()) return;
    const std::lock_guard lock(mu);
    const auto now = Clock::now();
    if (!UnderWay(call) || now - call.last_progress < kProgressGap) return;
    SendProgress(call, message, now);
  }

  // Not by id alone: a client may use that of a cancelled call again.
  bool UnderWay(const ToolCall& call) const {
    const auto it = calls.find(call.id);
    return it != calls.end() && it->second.get() == &call;
  }

  void Answered(const ToolCall& call, std::string result) {
    const std::lock_guard lock(mu);
    if (!UnderWay(call)) return;  // cancelled: nothing further is sent for it
    const std::shared_ptr<Batch> batch = call.batch;
    calls.erase(call.id);
    Put(batch, ResultLine(call.id, result));
    Leave(batch);
  }

  void OnText(std::string_view text) {
    const Incoming in = ParseText(text);
    std::shared_ptr<Batch> batch;
    if (in.batch) {
      if (!revision->batches || !initialized)
        return Reply(nullptr, ErrorLine("", kInvalidRequest,
                                        "batches are not part of revision " + std::string(revision->name)));
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

  // False: the message is answered later, and leaves its batch then.
  bool OnOne(const Message& message, const std::shared_ptr<Batch>& batch) {
    switch (message.kind) {
      case Message::Kind::kInvalid:
        Reply(batch, ErrorLine(message.id, message.code, message.error));
        return true;
      case Message::Kind::kResponse:
        return true;  // nothing was asked of the client
      case Message::Kind::kNotification:
        if (message.method == "notifications/cancelled") OnCancelled(message.params);
        return true;
      case Message::Kind::kRequest:
        return OnRequest(message, batch);
    }
    return true;
  }

  bool OnRequest(const Message& message, const std::shared_ptr<Batch>& batch) {
    if (!initialized && message.method != "initialize" && NamesItsRevision(message.params)) {
      Reply(batch, UnsupportedVersion(message));
      return true;
    }
    if (message.method == "tools/call") return OnToolCall(message, batch);
    {
      const std::lock_guard lock(mu);
      if (calls.count(message.id) > 0) return RefuseDuplicate(batch, message.id);
    }
    if (message.method == "initialize") {
      Reply(batch, batch ? ErrorLine(message.id, kInvalidRequest, "initialize must not be part of a batch")
                         : OnInitialize(message));
    } else if (message.method == "ping") {
      Reply(batch, ResultLine(message.id, "{}"));
    } else if (message.method == "tools/list") {
      // Everything fits one page, so no cursor was ever given out.
      const bool cursor = message.params != nullptr && json::Find(*message.params, "cursor") != nullptr;
      Reply(batch, cursor ? ErrorLine(message.id, kInvalidParams, "cursor: not one that this server gave")
                          : ResultLine(message.id, ToolList(*revision)));
    } else {
      Reply(batch,
            ErrorLine(message.id, kMethodNotFound, "unknown method: " + message.method.substr(0, 200)));
    }
    return true;
  }

  // With mu held. Answered without the id: an answer with it would be taken for that of the first.
  bool RefuseDuplicate(const std::shared_ptr<Batch>& batch, std::string_view id) {
    Put(batch,
        ErrorLine("", kInvalidRequest, "id: " + std::string(id) + " is in use by a request under way"));
    return true;
  }

  static bool NamesItsRevision(const json::Value* params) {
    const json::Value* meta = params == nullptr ? nullptr : json::Find(*params, "_meta");
    return meta != nullptr && json::Find(*meta, kMetaProtocolVersion) != nullptr;
  }

  static std::string UnsupportedVersion(const Message& message) {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Key(w, "supported");
    w.StartArray();
    for (const Revision& r : kLegacyRevisions) json::String(w, r.name);
    w.EndArray();
    const json::Value* asked = json::Find(*json::Find(*message.params, "_meta"), kMetaProtocolVersion);
    if (asked->IsString()) {
      json::Key(w, "requested");
      json::String(w, std::string_view(asked->GetString(), asked->GetStringLength()).substr(0, 64));
    }
    w.EndObject();
    return ErrorLine(message.id, kUnsupportedVersion,
                     "unsupported protocol version; this server needs initialize",
                     {buffer.GetString(), buffer.GetSize()});
  }

  std::string OnInitialize(const Message& message) {
    const auto asked =
        message.params == nullptr ? std::nullopt : json::GetString(*message.params, "protocolVersion");
    revision = &NegotiateRevision(asked.value_or(""));  // never an error: the client says whether it can
    initialized = true;
    {
      const std::lock_guard lock(mu);
      revision_has_message = revision->progress_message;
    }
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "protocolVersion", revision->name);
    json::Key(w, "capabilities");
    w.StartObject();
    json::Key(w, "tools");
    w.StartObject();
    json::Member(w, "listChanged", false);
    w.EndObject();
    w.EndObject();
    json::Key(w, "serverInfo");
    w.StartObject();
    json::Member(w, "name", "clara-sandbox");
    if (revision->titles) json::Member(w, "title", "Clara sandbox");
    json::Member(w, "version", CSB_VERSION);
    w.EndObject();
    json::Member(w, "instructions", kInstructions);
    w.EndObject();
    return ResultLine(message.id, {buffer.GetString(), buffer.GetSize()});
  }

  bool OnToolCall(const Message& message, const std::shared_ptr<Batch>& batch) {
    const auto fail = [&](std::string line) {
      Reply(batch, std::move(line));
      return true;
    };
    const auto name = message.params == nullptr ? std::nullopt : json::GetString(*message.params, "name");
    if (!name) return fail(ErrorLine(message.id, kInvalidParams, "name: a string is expected"));
    const Tool* tool = FindTool(*name);
    if (tool == nullptr)
      return fail(
          ErrorLine(message.id, kInvalidParams, "Unknown tool: " + std::string(name->substr(0, 200))));
    const json::Value* arguments = json::Find(*message.params, "arguments");
    if (arguments != nullptr && !arguments->IsObject())
      return fail(ErrorLine(message.id, kInvalidParams, "arguments: an object is expected"));
    auto request = MakeRequest(*tool, arguments, options);
    if (!request) return fail(ResultLine(message.id, ErrorResult(request.error())));

    auto call = std::make_shared<ToolCall>(*tool, *std::move(request), *revision, options);
    call->id = message.id;
    call->batch = batch;
    if (const json::Value* meta = json::Find(*message.params, "_meta"))
      call->token = IdText(json::Find(*meta, "progressToken"));
    {
      const std::lock_guard lock(mu);
      if (calls.count(call->id) > 0) return RefuseDuplicate(batch, call->id);
      if (calls.size() >= kMaxCalls) {
        Put(batch, ErrorLine(call->id, kServerBusy, "too many calls are under way; wait for one to end"));
        return true;
      }
      calls.emplace(call->id, call);
    }
    const std::string request_id = "mcp-" + std::to_string(++calls_made);
    auto submitted =
        service.Submit(call->answer.Request(request_id), std::make_shared<Handler>(shared_from_this(), call));
    if (!submitted) {
      Answered(*call, ErrorResult(submitted.error()));
      return false;
    }
    const std::lock_guard lock(mu);
    if (UnderWay(*call)) call->call = *std::move(submitted);
    return false;
  }

  void OnCancelled(const json::Value* params) {
    const std::string id = params == nullptr ? std::string() : IdText(json::Find(*params, "requestId"));
    std::shared_ptr<ToolCall> call;
    {
      const std::lock_guard lock(mu);
      const auto it = calls.find(id);
      if (it == calls.end()) return;  // answered already, or never there
      call = std::move(it->second);
      calls.erase(it);
      Leave(call->batch);
    }
    if (call->call) call->call->Cancel(CSB_E_CANCELLED);
  }

  void Close() {
    std::vector<std::shared_ptr<ToolCall>> running;
    {
      const std::lock_guard lock(mu);
      send = nullptr;
      for (auto& [id, call] : calls) running.push_back(std::move(call));
      calls.clear();
    }
    for (const auto& call : running)
      if (call->call) call->call->Cancel(CSB_E_CANCELLED);
  }
};

McpSession::McpSession(ServiceClient service, ToolOptions options, Send send)
    : impl_(std::make_shared<Impl>(service, std::move(options), std::move(send))) {}
McpSession::~McpSession() { impl_->Close(); }

void McpSession::OnMessage(std::string_view text) { impl_->OnText(text); }

void McpSession::OnUnreadable(std::string_view why) {
  impl_->Reply(nullptr, ErrorLine("", kParseError, why));
}

std::optional<McpSession::Clock::time_point> McpSession::NextWake() const {
  std::optional<Clock::time_point> next;
  const std::lock_guard lock(impl_->mu);
  for (const auto& [id, call] : impl_->calls) {
    if (call->token.empty()) continue;
    const auto due = call->last_progress + kHeartbeat;
    if (!next || due < *next) next = due;
  }
  return next;
}

void McpSession::OnTime(Clock::time_point now) {
  const std::lock_guard lock(impl_->mu);
  for (const auto& [id, call] : impl_->calls) {
    if (call->token.empty() || now < call->last_progress + kHeartbeat) continue;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - call->started).count();
    impl_->SendProgress(*call, "running for " + std::to_string(seconds) + " s", now);
  }
}

bool McpSession::Idle() const {
  const std::lock_guard lock(impl_->mu);
  return impl_->calls.empty();
}

void McpSession::CancelAll() { impl_->Close(); }

}  // namespace csb::mcp
