// SPDX-License-Identifier: Apache-2.0
//
// Runs: followed as they happen where the service tells it, else answered by one document.
#include <mutex>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/lifecycle_operation.h"
#include "plugins/remote/answer.h"
#include "plugins/remote/events.h"
#include "plugins/remote/operations.h"
#include "plugins/remote/output_events.h"
#include "plugins/remote/remote_operation.h"

namespace csb::remote {
namespace {

constexpr uint64_t kInputPiece = 256 << 10;
constexpr std::chrono::seconds kInputHint{2};  // somebody may sit at a terminal and wait

// Bytes that a caller wants of each stream; what lies between is dropped, and that is said at its place.
struct Bound {
  size_t head = SIZE_MAX, tail = 0;

  static Bound Of(const Request& request) {
    Bound bound;
    const auto payload = json::ParseObject(request.payload);
    const json::Value* output = payload ? json::Find(*payload, "output") : nullptr;
    if (output == nullptr) return bound;
    bound.head = static_cast<size_t>(json::GetInt(*output, "head").value_or(0));
    bound.tail = static_cast<size_t>(json::GetInt(*output, "tail").value_or(0));
    return bound;
  }
};

class RunOperation : public OutputOperation {
 public:
  RunOperation(const RequestView& request, EventSink sink)
      : OutputOperation(request, sink,
                        "Execution timed out: the remote sandbox service did not end it in time",
                        "raise the request's timeout, or see whether the service hangs") {}

  void Start(std::shared_ptr<Links> links, const RequestView& view) {
    Begin<RunOperation>(std::move(links), view);
    caller_->Find([self = Self<RunOperation>()](Link& link) {
      self->where_ = link.where();
      // Standard input goes with the request: gathered first.
      bool send = !self->request_.has_input(), ask = false;
      {
        const std::lock_guard lock(self->mutex_);
        ask = !send && !std::exchange(self->ready_, true);
        send = send || self->input_ended_;
      }
      if (ask) self->AskForInput();
      if (send) self->caller_->Send();
    });
  }

  Status Input(std::string_view data, bool eof) override {
    bool over;
    {
      const std::lock_guard lock(mutex_);
      over = input_.size() + data.size() > kMaxInput;
      if (over) {
        input_.clear();
        input_ended_ = true;
      } else {
        input_ += data;
        if (!eof) {
          sink_.InputCredit(data.size());
          return {};
        }
        input_ended_ = true;
        if (!ready_) return {};
      }
    }
    if (over) {
      sink_.Fail({CSB_E_TOO_LARGE,
                  "standard input is over 16 MiB, which a remote sandbox service takes at most",
                  "write it to a file first, and read that", false});
      caller_->Cancel();
      return {};
    }
    // Its own thread: what it answers may come at once.
    caller_->reactor().Post([self = Self<RunOperation>()] { self->caller_->Send(); });
    return {};
  }

  bool used() const { return used_; }

  void AskForInput() {
    sink_.InputCredit(kInputPiece);
    caller_->reactor().At(
        Reactor::Clock::now() + kInputHint, [weak = std::weak_ptr<RunOperation>(Self<RunOperation>())] {
          const auto self = weak.lock();
          if (!self || self->sink_.finished()) return;
          {
            const std::lock_guard lock(self->mutex_);
            if (self->input_ended_) return;
          }
          self->out_.Event(CSB_EVENT_PROGRESS,
                           ProgressEvent("standard input goes to the remote sandbox service as a whole: "
                                         "nothing runs before its end (Ctrl-D at a terminal)"));
        });
  }

  Result<Mapped> Build(const Peer& peer) {
    std::optional<std::string> input;
    {
      const std::lock_guard lock(mutex_);
      if (request_.has_input()) input = input_;  // kept: it may be sent again
    }
    auto mapped = Map(request_, peer, input, caller_->Left());
    if (mapped)
      call_ =
          mapped->http.method + " /sandbox/…" + mapped->http.target.substr(mapped->http.target.find('/', 9));
    if (!mapped || !mapped->streamed) return mapped;
    reader_ = {};
    mapped->http.on_head = [self = Self<RunOperation>()](const HttpResponse& head) {
      self->streaming_ = head.content_type.starts_with("text/event-stream");
      return true;
    };
    mapped->http.hold = [self = Self<RunOperation>()] { return !self->out_.empty(); };
    mapped->http.on_data = [self = Self<RunOperation>()](std::string_view data) {
      return self->OnData(data);
    };
    return mapped;
  }

  bool OnData(std::string_view data) {
    if (sink_.finished()) return false;  // cancelled: there may be no end of it
    if (!streaming_) {                   // one document, though a stream was asked for
      if (document_.size() + data.size() > EventReader::kMaxEvent)
        return End(Odd(where_, "more than 4 MiB at once")), false;
      document_ += data;
      return true;
    }
    used_ = true;
    const Status read = reader_.Read(data, [this](std::string_view event) { return OnEvent(event); });
    if (read) return true;
    End(read.error());
    return false;
  }

  // false: it came to its end.
  bool OnEvent(std::string_view text) {
    const auto event = json::ParseObject(text);
    const std::string_view name = event ? json::GetString(*event, "event").value_or("") : "";
    const Passed passed = event ? PassOutput(*event, out_) : Passed::kOther;
    if (passed == Passed::kUnreadable) return End(Odd(where_, "output whose base64 can't be read")), false;
    if (passed == Passed::kYes) return true;
    if (name == "result") {
      Show(*event);
    } else if (name == "exit") {
      auto run = RunOf(*event, where_);
      if (!run) return End(run.error()), false;
      ended_ = true;
      out_.Done(WithContext(std::move(run->result)));
    } else if (name == "error") {
      End(ErrorOfDocument(*event, static_cast<int>(json::GetInt(*event, "status").value_or(500)), where_));
    } else if (!event) {
      return End(Odd(where_, "an event that is no JSON object")), false;
    }
    return true;  // others are of later versions
  }

  void End(Error error) {
    if (std::exchange(ended_, true)) return;
    out_.Fail(std::move(error));
  }

  void OnDone(Result<HttpResponse> answer, Link* link) {
    if (link != nullptr) where_ = link->where();
    if (ended_) return;
    if (!answer) {
      Error error = answer.error();
      if (used_ && error.code != CSB_E_CANCELLED)
        error.hint = "what it printed until then is above; a service that still runs has ended it";
      return End(std::move(error));
    }
    if (NoSuchCall(*answer)) return End(HasNoSuchCall(*answer, where_, call_));
    if (answer->status != 200) return End(ErrorOf(*answer, where_));
    if (streaming_)
      return End({CSB_E_UNAVAILABLE, "the sandbox service at " + where_ + " broke off before the run's end",
                  "it may have been restarted: try again", false});
    if (!document_.empty()) answer->body = std::move(document_);
    const auto document = ObjectOf(*answer, where_);
    if (!document) return End(document.error());
    auto run = RunOf(*document, where_);
    if (!run) return End(run.error());
    ended_ = true;
    if (const json::Value* results = json::Find(*document, "results");
        results != nullptr && results->IsArray())
      for (const auto& item : results->GetArray()) Show(item);
    const Bound bound = Bound::Of(request_);
    const uint64_t dropped = Send(CSB_STREAM_STDOUT, std::move(run->output), bound);
    const uint64_t dropped_error = Send(CSB_STREAM_STDERR, std::move(run->error), bound);
    if (auto result = json::ParseObject(run->result); result && dropped + dropped_error > 0) {
      for (const auto& [name, bytes] :
           {std::pair{"stdout_dropped", dropped}, {"stderr_dropped", dropped_error}})
        (*result)[name].SetUint64((*result)[name].GetUint64() + bytes);
      run->result = json::ToString(*result);
    }
    out_.Done(WithContext(std::move(run->result)));
  }

  // One thing that the code showed.
  void Show(const json::Value& shown) {
    const auto kind = json::GetString(shown, "kind");
    const json::Value* data = json::Find(shown, "data");
    if (!kind || data == nullptr || !data->IsObject()) return;
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "kind", *kind);
    json::Key(w, "data");
    data->Accept(w);
    w.EndObject();
    out_.Event(CSB_EVENT_RESULT, {buffer.GetString(), buffer.GetSize()});
  }

  // A caller that asked for a context, and counts on its variables, is told that a service has none.
  std::string WithContext(std::string result) const {
    const auto payload = json::ParseObject(request_.payload);
    const auto name = payload ? json::GetString(*payload, "context") : std::nullopt;
    auto document = json::ParseObject(result);
    if (!name || !document || json::Find(*document, "context") != nullptr) return result;
    auto& allocator = document->GetAllocator();
    json::Value context(rapidjson::kObjectType);
    context.AddMember("name",
                      json::Value(name->data(), static_cast<rapidjson::SizeType>(name->size()), allocator),
                      allocator);
    context.AddMember("executions", 1, allocator);
    context.AddMember("new", true, allocator);
    context.AddMember("lost", "the remote sandbox service keeps no interpreters", allocator);
    document->AddMember("context", context, allocator);
    return json::ToString(*document);
  }

  // The bytes that were dropped.
  uint64_t Send(uint32_t stream, std::string text, const Bound& bound) {
    if (text.size() <= bound.head || text.size() - bound.head <= bound.tail) {
      out_.Bytes(stream, std::move(text));
      return 0;
    }
    const size_t dropped = text.size() - bound.head - bound.tail;
    out_.Bytes(stream, text.substr(0, bound.head));
    out_.Event(CSB_EVENT_DROPPED, DroppedEvent(stream, dropped));
    out_.Bytes(stream, text.substr(bound.head + dropped));
    return dropped;
  }

 private:
  std::mutex mutex_;  // of what follows
  std::string input_;
  bool input_ended_ = false, ready_ = false;
  // The reactor's thread.
  EventReader reader_;
  std::string document_, where_, call_;
  bool streaming_ = false, used_ = false, ended_ = false;
};

}  // namespace

std::shared_ptr<Operation> StartRun(std::shared_ptr<Links> links, const RequestView& request,
                                    EventSink sink) {
  auto operation = std::make_shared<RunOperation>(request, std::move(sink));
  operation->Start(std::move(links), request);
  return operation;
}

}  // namespace csb::remote
