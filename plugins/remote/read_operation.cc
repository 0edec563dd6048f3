// SPDX-License-Identifier: Apache-2.0
//
// file_read: raw bytes as they come, or a JSON document that is taken apart here.
#include <algorithm>
#include <charconv>

#include "clara_sandbox/cpp/json.h"
#include "plugins/remote/answer.h"
#include "plugins/remote/operations.h"
#include "plugins/remote/remote_operation.h"

namespace csb::remote {
namespace {

struct Meta {
  std::string path, mode, mtime;
  uint64_t size = 0, offset = 0, length = 0;

  std::string Text() const {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "path", std::string_view(path));
    json::Member(w, "size", size);
    if (!mode.empty()) json::Member(w, "mode", std::string_view(mode));
    if (!mtime.empty()) json::Member(w, "mtime", std::string_view(mtime));
    json::Member(w, "offset", offset);
    json::Member(w, "length", length);
    w.EndObject();
    return {buffer.GetString(), buffer.GetSize()};
  }
};

// What is asked for of a file of that size.
void Cut(const Part& part, Meta* meta) {
  meta->offset = part.offset >= 0
                     ? std::min<uint64_t>(static_cast<uint64_t>(part.offset), meta->size)
                     : meta->size - std::min<uint64_t>(static_cast<uint64_t>(-part.offset), meta->size);
  meta->length = std::min(part.length.value_or(UINT64_MAX), meta->size - meta->offset);
}

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string Absolute(const std::string& path) { return path.starts_with('/') ? path : "/workspace/" + path; }

class ReadOperation : public OutputOperation {
 public:
  ReadOperation(const RequestView& request, Part part, EventSink sink)
      : OutputOperation(request, sink, "the remote sandbox service did not send the file in time", ""),
        part_(std::move(part)) {}

  void Start(std::shared_ptr<Links> links, const RequestView& view) {
    Begin<ReadOperation>(std::move(links), view);
    caller_->Start();
  }

  bool used() const { return begun_; }

  Result<Mapped> Build(const Peer& peer) {
    Mapped mapped = MapRead(request_, part_, peer);
    raw_ = peer.raw_read;
    if (!raw_) return mapped;
    mapped.streamed = true;  // its time is that between two pieces
    mapped.http.on_head = [self = Self<ReadOperation>()](const HttpResponse& head) {
      return self->TakeHead(head);
    };
    mapped.http.hold = [self = Self<ReadOperation>()] { return !self->out_.empty(); };
    mapped.http.on_data = [self = Self<ReadOperation>()](std::string_view data) {
      const size_t wanted = std::min<uint64_t>(data.size(), self->left_);
      if (self->sink_.finished() || data.size() - wanted > self->beyond_) return false;
      self->left_ -= wanted;
      self->out_.Pass(CSB_STREAM_DATA, data.substr(0, wanted));
      self->enough_ = self->left_ == 0 && self->beyond_ > 0;
      return !self->enough_;
    };
    return mapped;
  }

  bool TakeHead(const HttpResponse& head) {
    meta_.path = Absolute(part_.path);
    meta_.mode = head.Header("X-File-Mode");
    meta_.mtime = head.Header("X-File-Mtime");
    const auto length = Number(head.Header("Content-Length"));
    std::string_view range = head.Header("Content-Range");
    const bool whole = head.status == 200;
    const auto size = whole ? length : Number(range.substr(std::min(range.rfind('/') + 1, range.size())));
    if (!size || !length) return odd_ = true, false;
    meta_.size = *size;
    Cut(part_, &meta_);
    // The end of a file can't be asked for with a length: all of it comes, and is cut here.
    const uint64_t coming = part_.offset < 0 ? meta_.size - meta_.offset : meta_.length;
    // A service that does not know ranges sends all of it: that would not be what was asked for.
    if (head.status == 206 ? *length != coming : meta_.length != *size && part_.length != uint64_t{0})
      return odd_ = true, false;
    left_ = meta_.length;
    beyond_ = head.status == 206 ? coming - meta_.length : 0;
    begun_ = true;
    out_.Event(CSB_EVENT_META, meta_.Text());
    return true;
  }

  void OnDone(Result<HttpResponse> answer, Link* link) {
    const std::string where = link != nullptr ? link->where() : "";
    if (odd_)
      return out_.Fail({CSB_E_UNAVAILABLE,
                        "the sandbox service at " + where + " sent another part of the file than asked",
                        "it may be of a version that speaks another interface", false});
    if (enough_) return out_.Done(meta_.Text());
    if (!answer) return out_.Fail(answer.error());
    if (raw_ && answer->status == 416) {  // nothing of it is where it was asked for
      const std::string_view range = answer->Header("Content-Range");
      meta_.path = Absolute(part_.path);
      meta_.size = Number(range.substr(std::min(range.rfind('/') + 1, range.size()))).value_or(0);
      Cut(part_, &meta_);
      meta_.length = 0;
      out_.Event(CSB_EVENT_META, meta_.Text());
      return out_.Done(meta_.Text());
    }
    if (answer->status / 100 != 2) return out_.Fail(ErrorOf(*answer, where));
    if (!raw_) return Whole(*answer, where);
    if (left_ > 0)
      return out_.Fail({CSB_E_UNAVAILABLE,
                        "the sandbox service at " + where + " broke off in the middle of the file",
                        "try again", true});
    out_.Done(meta_.Text());
  }

  void Whole(const HttpResponse& answer, const std::string& where) {
    auto file = FileOf(answer, where);
    if (!file) return out_.Fail(file.error());
    meta_.path = Absolute(file->path.empty() ? part_.path : file->path);
    meta_.size = file->bytes.size();
    Cut(part_, &meta_);
    out_.Event(CSB_EVENT_META, meta_.Text());
    out_.Bytes(CSB_STREAM_DATA, file->bytes.substr(meta_.offset, meta_.length));
    out_.Done(meta_.Text());
  }

 private:
  const Part part_;
  // The reactor's thread.
  Meta meta_;
  uint64_t left_ = 0, beyond_ = 0;  // of the body: what is wanted, and what comes behind that
  bool raw_ = false, begun_ = false, odd_ = false, enough_ = false;
};

}  // namespace

std::shared_ptr<Operation> StartRead(std::shared_ptr<Links> links, const RequestView& request,
                                     EventSink sink) {
  auto part = PartOf(Request::Copy(request));
  if (!part) {
    sink.Fail(part.error());
    return nullptr;
  }
  auto operation = std::make_shared<ReadOperation>(request, *std::move(part), std::move(sink));
  operation->Start(std::move(links), request);
  return operation;
}

}  // namespace csb::remote
