// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/execution_collector.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/service_exchange.h"

namespace csb::http {
namespace {

using Clock = std::chrono::steady_clock;

// {"path","size"} of a written file, in the form of a run.
Result<std::string> WrittenDocument(std::string_view result, Clock::time_point started) {
  auto doc = json::ParseObject(result);
  if (!doc) return Error{CSB_E_INTERNAL, "the backend's answer: " + doc.error().message, "", false};
  const std::string path(json::GetString(*doc, "path").value_or(""));
  const int64_t size = json::GetInt(*doc, "size").value_or(0);
  Execution run;
  run.success = true;
  run.output = "Wrote " + std::to_string(size) + " bytes to " + path + "\n";
  run.execution_time = std::round(std::chrono::duration<double>(Clock::now() - started).count() * 1e6) / 1e6;
  run.stdout_bytes = run.output.size();
  json::Buffer buffer;
  json::Writer w(buffer);
  w.StartObject();
  WriteExecution(w, run);
  json::Member(w, "path", std::string_view(path));
  json::Member(w, "size", size);
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize());
}

class JsonWrite final : public JsonExchange {
 public:
  using JsonExchange::JsonExchange;
  PayloadOptions payload_options() const override { return {.content_is_input = true}; }

  void OnPayload(Payload payload) override {
    started_ = Clock::now();
    if (Submit(payload.json, true, kDefaultCredit)) FeedInput(*std::move(payload.input));
  }
  void OnOutput(uint32_t, std::string data) override { call_->Credit(data.size()); }  // none is expected
  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    auto document = WrittenDocument(outcome.result, started_);
    if (!document) return Fail(document.error());
    out_.Respond({.body = *std::move(document)});
  }

 private:
  Clock::time_point started_;
};

// Raw bytes go on as they come, within the credit of the other side. The end of the input is sent
// with the body's end only: a broken upload is cancelled, and the write is atomic.
class Upload final : public ServiceExchange {
 public:
  using ServiceExchange::ServiceExchange;
  uint64_t body_limit() const override { return app_.settings.max_upload; }

  void Start() override {
    started_ = Clock::now();
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    for (const char* name : {"path", "mode"}) {
      const auto value = in_.target.Get(name);
      if (!value) continue;
      if (in_.target.Repeated(name))
        return Fail({CSB_E_INVALID, std::string(name) + ": is given twice", "", false});
      if (!utf8::Valid(*value))
        return Fail({CSB_E_INVALID, std::string(name) + ": is not valid UTF-8", "", false});
      json::Member(w, name, *value);
    }
    json::Member(w, "timeout", app_.raw_timeout);
    w.EndObject();
    Submit({buffer.GetString(), buffer.GetSize()}, true, kDefaultCredit);
  }

  size_t TakeBody(std::string_view bytes) override {
    if (answered_ || call_ == nullptr) return bytes.size();
    const size_t n = static_cast<size_t>(std::min<uint64_t>(bytes.size(), credit_));
    if (n == 0) return 0;
    credit_ -= n;
    call_->Input(bytes.substr(0, n), false);
    return n;
  }

  void OnBodyEnd() override {
    if (answered_) return;
    ended_ = true;
    if (granted_) call_->Input({}, true);
  }

  void OnInputCredit(uint64_t bytes) override {
    credit_ += bytes;
    // Even an end alone waits for the first credit: before it there is nothing that could take it.
    if (!std::exchange(granted_, true) && ended_) return call_->Input({}, true);
    out_.WantBody();
  }
  void OnOutput(uint32_t, std::string data) override { call_->Credit(data.size()); }  // none is expected

  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    if (!ended_) return Fail({CSB_E_INTERNAL, "the backend ended the write before its data", "", false});
    auto document = WrittenDocument(outcome.result, started_);
    if (!document) return Fail(document.error());
    out_.Respond({.body = *std::move(document)});
  }

 private:
  Clock::time_point started_;
  uint64_t credit_ = 0;
  bool granted_ = false;  // some credit has come
  bool ended_ = false;    // the body has
};

}  // namespace

std::unique_ptr<Exchange> FileWriteJsonExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<JsonWrite>(app, thread, std::move(in), out);
}
std::unique_ptr<Exchange> FileUploadExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<Upload>(app, thread, std::move(in), out);
}

}  // namespace csb::http
