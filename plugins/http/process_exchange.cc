// SPDX-License-Identifier: Apache-2.0
//
// What a process has printed, as one document: both streams in the order in which they came; and input for
// it.
#include <string>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/base64.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/service_exchange.h"

namespace csb::http {
namespace {

// As much as one call may ask for (host/service/validate.cc).
constexpr uint64_t kCredit = 8 << 20;

// Bytes at the end that begin a character which is not whole.
size_t CutCharacter(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    return utf8::SequenceLength(text.substr(text.size() - back)) < 0 ? back : 0;
  }
  return 0;
}

class ProcessOutput final : public JsonExchange {
 public:
  using JsonExchange::JsonExchange;

  void OnPayload(Payload payload) override {
    const auto encoding = in_.target.Get("encoding");
    if (encoding && *encoding != "base64" && *encoding != "utf-8")
      return Fail({CSB_E_INVALID, "encoding: must be `utf-8` or `base64`", "", false});
    base64_ = encoding == "base64";
    Submit(payload.json, false, kCredit);
  }

  void OnOutput(uint32_t, std::string data) override {
    if (Hold(2 * data.size())) text_ += data;
  }

  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    const auto info = json::ParseObject(outcome.result);
    if (!info) return Fail({CSB_E_INTERNAL, "the backend's answer: " + info.error().message, "", false});
    // The character that the bound went through is read with what follows.
    const size_t cut = base64_ || json::GetString(*info, "state") == "exited" ? 0 : CutCharacter(text_);
    text_.resize(text_.size() - cut);
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "output", std::string_view(base64_ ? base64::Encode(text_) : utf8::Clean(text_)));
    json::Member(w, "encoding", base64_ ? "base64" : "utf-8");
    json::Member(w, "running", json::GetString(*info, "state") == "running");
    for (const auto& member : info->GetObject()) {
      const std::string_view name(member.name.GetString(), member.name.GetStringLength());
      json::Key(w, name);
      if (name == "next_offset" && member.value.IsInt64())
        w.Int64(member.value.GetInt64() - static_cast<int64_t>(cut));
      else
        member.value.Accept(w);
    }
    w.EndObject();
    out_.Respond({.body = std::string(buffer.GetString(), buffer.GetSize())});
  }

 private:
  bool base64_ = false;
  std::string text_;
};

class ProcessInput final : public JsonExchange {
 public:
  using JsonExchange::JsonExchange;

  PayloadOptions payload_options() const override { return {.content_is_input = true}; }

  void OnPayload(Payload payload) override {
    if (Submit(payload.json, true, kDefaultCredit)) FeedInput(*std::move(payload.input));
  }
  void OnOutput(uint32_t, std::string data) override { call_->Credit(data.size()); }  // none is expected
  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    out_.Respond({.body = std::string(outcome.result)});
  }
};

}  // namespace

std::unique_ptr<Exchange> ProcessOutputExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<ProcessOutput>(app, thread, std::move(in), out);
}

std::unique_ptr<Exchange> ProcessInputExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<ProcessInput>(app, thread, std::move(in), out);
}

}  // namespace csb::http
