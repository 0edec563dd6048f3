// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/execution_collector.h"
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
    collector_.emplace(ExecutionCollector::Limits{payload.bound->head, payload.bound->tail});
    if (Submit(payload.json, payload.input.has_value(), kCredit) && payload.input)
      FeedInput(*std::move(payload.input));
  }

  // The collector is bounded, so credit is given back at once.
  void OnOutput(uint32_t stream, std::string data) override {
    collector_->Output(stream, data);
    call_->Credit(data.size());
  }
  void OnEvent(uint32_t event, std::string_view json) override {
    collector_->Event(event, json);
    results_.Event(event, json);
  }

  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    auto run = collector_->Finish(outcome.result);
    if (!run) return Fail(run.error());
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
  std::optional<ExecutionCollector> collector_;
  ResultCollector results_;
};

}  // namespace

std::unique_ptr<Exchange> BufferedRunExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<BufferedRun>(app, thread, std::move(in), out);
}

}  // namespace csb::http
