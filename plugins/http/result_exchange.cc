// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cmath>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/execution_collector.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/service_exchange.h"

namespace csb::http {
namespace {

// Results and metrics are small; more than this on the stream is a fault of a backend.
constexpr size_t kMaxText = 64 << 20;
constexpr uint64_t kCredit = 256 << 10;

class ResultAnswer final : public JsonExchange {
 public:
  using JsonExchange::JsonExchange;

  void OnPayload(Payload payload) override {
    started_ = std::chrono::steady_clock::now();
    // To tell about it is to wait for no time.
    if (in_.route->answer == Answer::kProcess)
      payload.json.insert(payload.json.size() - 1, R"(,"timeout":0)");
    Submit(payload.json, false, kCredit);
  }

  void OnOutput(uint32_t stream, std::string data) override {
    if (stream != CSB_STREAM_DATA) return;
    if (text_.size() + data.size() > kMaxText)
      return Fail({CSB_E_INTERNAL, "the service's answer is too large", "", false});
    text_ += data;
    call_->Credit(data.size());
  }

  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    switch (in_.route->answer) {
      case Answer::kText:
        return out_.Respond({.content_type = kPrometheus, .body = std::move(text_)});
      case Answer::kHealth:
        return Health(outcome.result);
      case Answer::kContext:
        return OneContext(outcome.result);
      case Answer::kFileList:
      case Answer::kFileDelete:
        return FileWork(outcome.result);
      default:
        return out_.Respond({.body = std::string(outcome.result)});
    }
  }

 private:
  void OneContext(std::string_view result) {
    const std::string_view name = PathParameter(*in_.route, in_.target.segments, "name");
    const auto doc = json::ParseObject(result);
    const json::Value* contexts = doc ? json::Find(*doc, "contexts") : nullptr;
    if (contexts != nullptr && contexts->IsArray())
      for (const auto& context : contexts->GetArray())
        if (json::GetString(context, "name") == name) return out_.Respond({.body = json::ToString(context)});
    Fail(
        {CSB_E_NOT_FOUND, "there is no context of that name", "the next execution with it makes one", false});
  }

  // The service's view, with `docker` as the interface has it, and a status that probes understand.
  void Health(std::string_view result) {
    auto doc = json::ParseObject(result);
    if (!doc) return Fail({CSB_E_INTERNAL, "health: " + doc.error().message, "", false});
    const bool healthy = json::GetString(*doc, "status") == "healthy";
    if (!doc->HasMember("docker")) {
      const json::Value* backends = json::Find(*doc, "backends");
      const json::Value* docker = backends == nullptr ? nullptr : json::Find(*backends, "docker");
      const bool up = docker != nullptr && json::GetBool(*docker, "available").value_or(false);
      doc->AddMember("docker", up, doc->GetAllocator());
    }
    Reply reply{.status = healthy ? 200 : 503, .body = json::ToString(*doc)};
    if (!healthy) reply.fields = "Retry-After: 5\r\n";
    out_.Respond(std::move(reply));
  }

  // File work answers like a run: what a listing prints, or what was done, is the output.
  void FileWork(std::string_view result) {
    auto doc = json::ParseObject(result);
    if (!doc) return Fail({CSB_E_INTERNAL, "the backend's answer: " + doc.error().message, "", false});
    const bool list = in_.route->answer == Answer::kFileList;
    const std::string path(json::GetString(*doc, "path").value_or(in_.target.Get("path").value_or("")));
    Execution run;
    run.success = true;
    run.output = list ? std::string(json::GetString(*doc, "text").value_or("")) : "Deleted " + path + "\n";
    run.execution_time =
        std::round(std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count() * 1e6) /
        1e6;
    run.truncated = json::GetBool(*doc, "truncated").value_or(false);
    run.stdout_bytes = run.output.size();
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    WriteExecution(w, run);
    json::Member(w, "path", std::string_view(path));
    if (list) {
      json::Key(w, "entries");
      if (const json::Value* entries = json::Find(*doc, "entries"))
        entries->Accept(w);
      else
        w.StartArray(), w.EndArray();
    }
    w.EndObject();
    out_.Respond({.body = std::string(buffer.GetString(), buffer.GetSize())});
  }

  std::string text_;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace

std::unique_ptr<Exchange> ResultExchange(App& app, ThreadState& thread, Incoming in, Responder& out) {
  return std::make_unique<ResultAnswer>(app, thread, std::move(in), out);
}

}  // namespace csb::http
