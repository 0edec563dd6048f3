// SPDX-License-Identifier: Apache-2.0
//
// Programs in the background that do more than answer a call: what one printed, input for it, and both ways
// at once. The latter is the service's stream of its output and a call for each piece of input, which works
// for a program with a terminal and without.
#include <mutex>

#include "clara_sandbox/cpp/json.h"
#include "plugins/remote/answer.h"
#include "plugins/remote/events.h"
#include "plugins/remote/operations.h"
#include "plugins/remote/output_events.h"
#include "plugins/remote/remote_operation.h"

namespace csb::remote {
namespace {

constexpr uint64_t kInputWindow = 64 << 10;
constexpr char kLate[] = "the remote sandbox service gave no answer within the time for it";

std::string HandleOf(const Request& request) {
  const auto payload = json::ParseObject(request.payload);
  return payload ? std::string(json::GetString(*payload, "handle").value_or("")) : "";
}

Error OfAnswer(const HttpResponse& answer, const std::string& where, const char* call) {
  return NoSuchCall(answer) ? HasNoSuchCall(answer, where, call) : ErrorOf(answer, where);
}

class OutputOfProcess : public OutputOperation {
 public:
  OutputOfProcess(const RequestView& request, const EventSink& sink)
      : OutputOperation(request, sink, kLate, "see whether it hangs") {}

  void Start(std::shared_ptr<Links> links, const RequestView& view) {
    Begin<OutputOfProcess>(std::move(links), view);
    caller_->Start();
  }
  Result<Mapped> Build(const Peer& peer) {
    auto mapped = MapProcess(request_, peer);
    if (mapped) mapped->http.max_body = 16 << 20;  // 8 MiB at most are asked for, as base64
    return mapped;
  }
  bool used() const { return false; }
  void OnDone(const Result<HttpResponse>& answer, Link* link) {
    if (!answer) return out_.Fail(answer.error());
    if (answer->status != 200) return out_.Fail(OfAnswer(*answer, link->where(), "GET …/processes/…/output"));
    auto program = ProgramOf(*answer, link->where());
    if (!program) return out_.Fail(program.error());
    out_.Bytes(CSB_STREAM_STDOUT, std::move(program->output));
    out_.Done(std::move(program->result));
  }
};

// All of it is gathered first: the service takes it as one document.
class InputOfProcess : public RemoteOperation {
 public:
  InputOfProcess(const RequestView& request, EventSink sink)
      : RemoteOperation(request, std::move(sink), kLate,
                        "the program may not read its input: see what it printed") {}

  void Start(std::shared_ptr<Links> links, const RequestView& view) {
    Begin<InputOfProcess>(std::move(links), view);
    request_.has_input() ? sink_.InputCredit(kInputWindow) : caller_->Start();
  }
  Status Input(std::string_view data, bool eof) override {
    bool over;
    {
      const std::lock_guard lock(mutex_);
      over = input_.size() + data.size() > kMaxInput;
      if (!over) input_ += data;
    }
    if (over) {
      sink_.Fail({CSB_E_TOO_LARGE, "input is over 16 MiB, which a remote sandbox service takes at most",
                  "write it in several calls", false});
      caller_->Cancel();
    } else if (eof) {
      caller_->reactor().Post([self = Self<InputOfProcess>()] { self->caller_->Start(); });
    } else {
      sink_.InputCredit(data.size());
    }
    return {};
  }
  Result<Mapped> Build(const Peer& peer) {
    if (!peer.processes) return MapProcess(request_, peer);  // says so
    const auto payload = json::ParseObject(request_.payload);
    const std::lock_guard lock(mutex_);
    return MapProcessInput(request_.user, HandleOf(request_), input_,
                           payload && json::GetBool(*payload, "eof").value_or(false));
  }
  bool used() const { return false; }
  void OnDone(const Result<HttpResponse>& answer, Link* link) {
    if (!answer) return sink_.Fail(answer.error());
    if (answer->status != 200)
      return sink_.Fail(OfAnswer(*answer, link->where(), "POST …/processes/…/input"));
    auto written = ObjectWith(*answer, link->where(), "written", rapidjson::kNumberType);
    written ? sink_.Done(*written) : sink_.Fail(written.error());
  }

 private:
  std::mutex mutex_;
  std::string input_;
};

class AttachToProcess : public OutputOperation {
 public:
  AttachToProcess(const RequestView& request, const EventSink& sink)
      : OutputOperation(request, sink, kLate, "the program goes on: attach to it again"),
        handle_(HandleOf(request_)) {}

  void Start(std::shared_ptr<Links> links, const RequestView& view) {
    links_ = links;
    Begin<AttachToProcess>(std::move(links), view);
    // Whether it is there, and how much it has printed: the stream itself is silent as long as the program
    // is.
    const auto self = Self<AttachToProcess>();
    looking_ = Call([self](const Peer& peer) { return self->Look(peer); },
                    [self](Result<HttpResponse> answer, Link* link) { self->OnLooked(answer, link); });
    looking_->Start();
  }

  void Cancel(csb_status cause) override {
    OutputOperation::Cancel(cause);  // of the stream; the program stays
    caller_->reactor().Post([self = Self<AttachToProcess>()] { self->DropCalls(); });
  }

  // An end of it leaves the program's input open for the next who attaches.
  Status Input(std::string_view data, bool /*eof*/) override {
    {
      const std::lock_guard lock(mutex_);
      pending_ += data;
    }
    caller_->reactor().Post([self = Self<AttachToProcess>()] { self->SendInput(); });
    return {};
  }

  bool used() const { return used_; }

  Result<Mapped> Build(const Peer&) {
    auto mapped = MapFollow(request_.user, handle_, offset_);
    reader_ = {};
    mapped.http.hold = [self = Self<AttachToProcess>()] { return !self->out_.empty(); };
    mapped.http.on_data = [self = Self<AttachToProcess>()](std::string_view data) {
      if (self->sink_.finished()) return false;
      self->used_ = true;
      const Status read =
          self->reader_.Read(data, [&](std::string_view event) { return self->OnEvent(event); });
      if (!read) self->End(read.error());
      return !self->ended_;
    };
    return mapped;
  }

  void OnDone(const Result<HttpResponse>& answer, Link* link) {
    if (ended_) return;
    if (!answer) return End(answer.error());
    if (answer->status != 200) return End(OfAnswer(*answer, link->where(), "GET …/processes/…/output"));
    End({CSB_E_UNAVAILABLE, "the sandbox service at " + where_ + " broke off what the program prints",
         "the program may go on: attach to it again", true});
  }

 private:
  // Of the same user, until the same time.
  std::shared_ptr<Caller> Call(std::function<Result<Mapped>(const Peer&)> build,
                               std::function<void(Result<HttpResponse>, Link*)> done) {
    return Caller::Make(links_, request_.view(), {.build = std::move(build), .done = std::move(done)});
  }

  Result<Mapped> Look(const Peer& peer) const {
    if (!peer.processes) return MapProcess(request_, peer);  // says so
    Mapped mapped;
    mapped.harmless = true;
    mapped.http.target = ProcessTarget(request_.user, handle_, "");
    return mapped;
  }

  void OnLooked(const Result<HttpResponse>& answer, Link* link) {
    looking_.reset();
    if (sink_.finished()) return;
    if (!answer) return End(answer.error());
    where_ = link->where();
    if (answer->status != 200) return End(OfAnswer(*answer, where_, "GET …/processes/…"));
    const auto program = ProgramOf(*answer, where_);
    if (!program) return End(program.error());
    const auto payload = json::ParseObject(request_.payload);
    const auto info = json::ParseObject(program->result);
    offset_ = json::GetInt(*info, "bytes").value_or(0);
    if (payload) offset_ = json::GetInt(*payload, "offset").value_or(offset_);
    if (request_.has_input()) sink_.InputCredit(kInputWindow);
    caller_->Start();
  }

  // One at a time, in their order; what comes meanwhile goes with the next.
  void SendInput() {
    if (writing_ || ended_ || sink_.finished()) return;
    {
      const std::lock_guard lock(mutex_);
      if (pending_.empty()) return;
      sending_ = std::exchange(pending_, {});
    }
    const auto self = Self<AttachToProcess>();
    writing_ = Call(
        [self](const Peer&) {
          return MapProcessInput(self->request_.user, self->handle_, self->sending_, false);
        },
        [self](Result<HttpResponse> answer, Link* link) { self->OnWritten(answer, link); });
    writing_->Start();
  }

  void OnWritten(const Result<HttpResponse>& answer, Link* link) {
    writing_.reset();
    if (ended_ || sink_.finished()) return;
    const bool taken = answer && answer->status == 200;
    if (!taken) {
      const Error error =
          answer ? OfAnswer(*answer, link->where(), "POST …/processes/…/input") : answer.error();
      // It has ended, or closed its input: the stream tells the rest.
      if (error.code != CSB_E_CONFLICT && error.code != CSB_E_NOT_FOUND) return End(error);
    }
    sink_.InputCredit(sending_.size());
    SendInput();
  }

  bool OnEvent(std::string_view text) {
    const auto event = json::ParseObject(text);
    if (!event) return End(Odd(where_, "an event that is no JSON object")), false;
    const Passed passed = PassOutput(*event, out_);
    if (passed == Passed::kUnreadable) return End(Odd(where_, "output whose base64 can't be read")), false;
    const std::string_view name = json::GetString(*event, "event").value_or("");
    if (name == "error")
      return End(ErrorOfDocument(*event, static_cast<int>(json::GetInt(*event, "status").value_or(500)),
                                 where_)),
             false;
    if (name != "exit") return true;
    auto info = InfoOfProgram(*event, where_);
    if (!info) return End(info.error()), false;
    ended_ = true;
    out_.Done(*std::move(info));
    DropCalls();
    return false;
  }

  void End(Error error) {
    if (std::exchange(ended_, true)) return;
    out_.Fail(std::move(error));
    caller_->Cancel();  // also of a stream that never began: it holds this
    DropCalls();
  }

  void DropCalls() {
    if (looking_) looking_->Cancel();
    if (writing_) writing_->Cancel();
  }

  const std::string handle_;
  std::shared_ptr<Links> links_;
  std::mutex mutex_;  // of what follows
  std::string pending_;
  // The reactor's thread.
  std::shared_ptr<Caller> looking_, writing_;
  std::string sending_, where_;
  EventReader reader_;
  int64_t offset_ = 0;
  bool used_ = false, ended_ = false;
};

template <typename T>
std::shared_ptr<Operation> Started(std::shared_ptr<Links> links, const RequestView& request, EventSink sink) {
  auto operation = std::make_shared<T>(request, std::move(sink));
  operation->Start(std::move(links), request);
  return operation;
}

}  // namespace

std::shared_ptr<Operation> StartProcess(std::shared_ptr<Links> links, const RequestView& request,
                                        EventSink sink) {
  switch (request.op) {
    case CSB_OP_PROCESS_OUTPUT:
      return Started<OutputOfProcess>(std::move(links), request, std::move(sink));
    case CSB_OP_PROCESS_INPUT:
      return Started<InputOfProcess>(std::move(links), request, std::move(sink));
    case CSB_OP_PROCESS_ATTACH:
      return Started<AttachToProcess>(std::move(links), request, std::move(sink));
    default:
      return StartCall(std::move(links), request, std::move(sink));
  }
}

}  // namespace csb::remote
