// SPDX-License-Identifier: Apache-2.0
//
// file_write: small files as one request, larger ones as a stream where the service takes raw bytes.
#include <cstring>
#include <deque>
#include <mutex>

#include "clara_sandbox/cpp/json.h"
#include "plugins/remote/answer.h"
#include "plugins/remote/operations.h"
#include "plugins/remote/remote_operation.h"

namespace csb::remote {
namespace {

constexpr size_t kWindow = 2 << 20;   // that waits here
constexpr size_t kLump = 256 << 10;   // of credit
constexpr size_t kSmall = 128 << 10;  // sent with its length, and again if need be

class WriteOperation : public RemoteOperation {
 public:
  WriteOperation(const RequestView& request, EventSink sink)
      : RemoteOperation(request, std::move(sink), "the remote sandbox service did not take the file in time",
                        "") {}

  void Start(std::shared_ptr<Links> links, const RequestView& view) {
    Begin<WriteOperation>(std::move(links), view);
    caller_->Find([self = Self<WriteOperation>()](Link& link) {
      bool send;
      uint64_t credit = 0;
      {
        const std::lock_guard lock(self->mutex_);
        self->raw_ = link.Offers().raw_write;
        if (!std::exchange(self->ready_, true)) credit = kWindow;
        send = self->started_ || self->eof_;
      }
      if (credit > 0) self->sink_.InputCredit(credit);
      if (send) self->caller_->Send();
    });
  }

  Status Input(std::string_view data, bool eof) override {
    bool start = false, resume = false;
    {
      const std::lock_guard lock(mutex_);
      if (!data.empty()) waiting_.emplace_back(data);
      size_ += data.size();
      // Over the bound of a service without raw uploads MapWrite says so; no more is needed for that.
      eof_ = eof_ || eof || (!raw_ && size_ > kMaxPlainFile);
      // A stream's credit comes back as it is sent.
      if (!raw_ && !eof_) sink_.InputCredit(data.size());
      resume = started_ && std::exchange(starved_, false);
      start = ready_ && !started_ && (eof_ || (raw_ && size_ > kSmall));
      if (start) {
        started_ = true;
        streaming_ = !eof_;
      }
    }
    if (start)
      caller_->reactor().Post([self = Self<WriteOperation>()] { self->caller_->Send(); });
    else if (resume)
      caller_->Resume();
    return {};
  }

  bool used() const { return streaming_; }

  Result<Mapped> Build(const Peer& peer) {
    const std::lock_guard lock(mutex_);
    if (!streaming_) return MapWrite(request_, peer, Whole());
    auto mapped = MapUpload(request_, peer);
    if (!mapped) return mapped;
    mapped->streamed = true;
    mapped->harmless = false;  // its bytes are gone once they were sent
    mapped->http.source = [self = Self<WriteOperation>()](char* to, size_t room) {
      return self->Give(to, room);
    };
    return mapped;
  }

  size_t Give(char* to, size_t room) {
    size_t n = 0;
    uint64_t credit = 0;
    {
      const std::lock_guard lock(mutex_);
      while (n < room && !waiting_.empty()) {
        const std::string& piece = waiting_.front();
        const size_t part = std::min(room - n, piece.size() - sent_);
        std::memcpy(to + n, piece.data() + sent_, part);
        n += part;
        sent_ += part;
        if (sent_ < piece.size()) break;
        waiting_.pop_front();
        sent_ = 0;
      }
      if (n == 0 && !eof_) {
        starved_ = true;
        return HttpRequest::kLater;
      }
      // In lumps, as each wakes a thread of the sender, whose window is larger than what is owed then.
      owed_ += n;
      if (owed_ >= kLump) credit = std::exchange(owed_, 0);
    }
    if (credit > 0) sink_.InputCredit(credit);
    return n;
  }

  std::string Whole() const {
    std::string out;
    out.reserve(size_);
    for (const std::string& piece : waiting_) out += piece;
    return out;
  }

  void OnDone(Result<HttpResponse> answer, Link* link) {
    if (!answer) return sink_.Fail(answer.error());
    const std::string& where = link->where();
    if (NoSuchCall(*answer)) return sink_.Fail(HasNoSuchCall(*answer, where, "POST /sandbox/…/file"));
    if (answer->status != 200) return sink_.Fail(ErrorOf(*answer, where));
    bool success = false;
    const auto document = DoneOf(*answer, where, &success);
    if (!document) return sink_.Fail(document.error());
    if (!success)
      return sink_.Fail({CSB_E_IO,
                         "the sandbox service at " + where + " could not write the file: " +
                             std::string(json::GetString(*document, "error").value_or("no reason given")),
                         "", false});
    const auto payload = json::ParseObject(request_.payload);
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "path",
                 json::GetString(*document, "path").value_or(json::GetString(*payload, "path").value_or("")));
    json::Member(w, "size", json::GetInt(*document, "size").value_or(static_cast<int64_t>(Size())));
    w.EndObject();
    sink_.Done({buffer.GetString(), buffer.GetSize()});
  }

  size_t Size() {
    const std::lock_guard lock(mutex_);
    return size_;
  }

 private:
  std::mutex mutex_;  // of what follows
  std::deque<std::string> waiting_;
  size_t sent_ = 0;    // of the first of them
  uint64_t size_ = 0;  // of all that came
  uint64_t owed_ = 0;  // credit that was not given back yet
  bool starved_ = false;
  bool raw_ = false, ready_ = false, eof_ = false;
  bool started_ = false, streaming_ = false;
};

}  // namespace

std::shared_ptr<Operation> StartWrite(std::shared_ptr<Links> links, const RequestView& request,
                                      EventSink sink) {
  auto operation = std::make_shared<WriteOperation>(request, std::move(sink));
  operation->Start(std::move(links), request);
  return operation;
}

}  // namespace csb::remote
