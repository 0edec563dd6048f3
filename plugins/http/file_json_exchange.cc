// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/base64.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/service_exchange.h"

namespace csb::http {
namespace {

constexpr uint64_t kCredit = 512 << 10;

// A file as a JSON document: read whole, so bounded like a JSON body.
class FileJson final : public JsonExchange {
 public:
  using JsonExchange::JsonExchange;

  void OnPayload(Payload payload) override { Submit(payload.json, false, kCredit); }

  void OnEvent(uint32_t event, std::string_view json) override {
    if (event != CSB_EVENT_META) return;
    auto doc = json::ParseObject(json);
    if (!doc) return;  // without it the data itself is counted
    if (const auto path = json::GetString(*doc, "path")) path_ = *path;
    const int64_t size = json::GetInt(*doc, "size").value_or(0);
    if (size > 0 && static_cast<uint64_t>(size) > app_.settings.max_body) TooLarge();
  }

  void OnOutput(uint32_t stream, std::string data) override {
    if (stream != CSB_STREAM_DATA || answered_) return;
    if (content_.size() + data.size() > app_.settings.max_body) return TooLarge();
    if (!Hold(3 * data.size())) return;
    content_ += data;
    call_->Credit(data.size());
  }

  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    if (path_.empty()) path_ = in_.target.Get("path").value_or("");
    const bool text = utf8::Valid(content_);
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "path", std::string_view(path_));
    json::Member(w, "content", std::string_view(text ? content_ : base64::Encode(content_)));
    json::Member(w, "encoding", text ? "utf-8" : "base64");
    json::Member(w, "size", uint64_t{content_.size()});
    w.EndObject();
    out_.Respond({.body = std::string(buffer.GetString(), buffer.GetSize())});
  }

 private:
  void TooLarge() {
    Fail({CSB_E_TOO_LARGE, "the file is larger than " + std::to_string(app_.settings.max_body) + " bytes",
          "ask for raw bytes, of any size, with Accept: application/octet-stream", false});
  }

  std::string path_, content_;
};

}  // namespace

std::unique_ptr<Exchange> FileJsonExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<FileJson>(app, thread, std::move(in), out);
}

}  // namespace csb::http
