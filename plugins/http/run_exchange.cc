// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/execution_collector.h"
#include "plugins/common/model_output.h"
#include "plugins/common/result_collector.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/run_members.h"
#include "plugins/http/service_exchange.h"

namespace csb::http {
namespace {

constexpr uint64_t kCredit = 256 << 10;

class BufferedRun final : public JsonExchange {
 public:
  using JsonExchange::JsonExchange;

  PayloadOptions payload_options() const override { return {.max_output = app_.settings.max_output}; }

  void OnPayload(Payload payload) override {
    // A document has one text for a stream, with the place of what was dropped told inside it.
    if (payload.base64)
      return Fail({CSB_E_INVALID, "encoding: base64 comes only in a streamed answer",
                   "ask for one with Accept: application/x-ndjson or text/event-stream", false});
    if (auto shaped = Shape(payload); !shaped) return Fail(shaped.error());
    collector_.emplace(ExecutionCollector::Limits{payload.bound->head, payload.bound->tail});
    if (Submit(payload.json, payload.input.has_value(), kCredit) && payload.input)
      FeedInput(*std::move(payload.input));
  }

  // The collector is bounded, so credit is given back at once.
  void OnOutput(uint32_t stream, std::string data) override {
    if (model_)
      model_->Append(data);
    else
      collector_->Output(stream, data);
    call_->Credit(data.size());
  }
  void OnEvent(uint32_t event, std::string_view json) override {
    collector_->Event(event, json);
    const auto doc = model_ && event == CSB_EVENT_DROPPED ? json::ParseObject(json) : Error{};
    if (doc)
      model_->Dropped(static_cast<uint64_t>(std::max<int64_t>(0, json::GetInt(*doc, "bytes").value_or(0))));
    results_.Event(event, json);
  }

  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    auto run = collector_->Finish(outcome.result);
    if (!run) return Fail(run.error());
    if (model_) {
      const auto doc = json::ParseObject(outcome.result);
      run->output = model_->Text(doc ? json::GetString(*doc, "handle").value_or("") : "");
      run->truncated = model_->truncated();
    }
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    WriteRun(w, in_.route->op, *run, outcome.result);
    if (in_.route->op == CSB_OP_EXECUTE) {
      json::Key(w, "results");
      results_.Write(w);
    }
    w.EndObject();
    out_.Respond({.body = std::string(buffer.GetString(), buffer.GetSize())});
  }

 private:
  // With `max_output` the answer is one text as a model reads it, and what it leaves out is kept.
  Status Shape(Payload& payload) {
    auto doc = json::ParseObject(payload.json);
    if (!doc) return doc.error();
    const json::Value* asked = json::Find(*doc, "max_output");
    if (asked == nullptr) return {};
    if (!asked->IsInt64() || asked->GetInt64() < 256 || asked->GetInt64() > 16 << 20)
      return Error{CSB_E_INVALID, "max_output: must be a whole number between 256 and 16777216", "", false};
    const auto most = static_cast<uint64_t>(asked->GetInt64());
    model_.emplace(most);
    // Of each stream, since one may have printed all of it.
    auto& allocator = doc->GetAllocator();
    json::Value bound(rapidjson::kObjectType);
    bound.AddMember("head", most, allocator).AddMember("tail", most, allocator);
    doc->RemoveMember("max_output");
    doc->RemoveMember("output");
    doc->AddMember("output", bound, allocator);
    if (in_.route->op != CSB_OP_PIP_INSTALL && !doc->HasMember("keep"))
      doc->AddMember("keep", true, allocator);
    payload.json = json::ToString(*doc);
    return {};
  }

  std::optional<ExecutionCollector> collector_;
  std::optional<ModelOutput> model_;
  ResultCollector results_;
};

}  // namespace

std::unique_ptr<Exchange> BufferedRunExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<BufferedRun>(app, thread, std::move(in), out);
}

}  // namespace csb::http
