// SPDX-License-Identifier: Apache-2.0
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "plugins/common/base64.h"
#include "plugins/common/execution_collector.h"
#include "plugins/http/exchanges.h"
#include "plugins/http/run_members.h"
#include "plugins/http/service_exchange.h"

namespace csb::http {
namespace {

constexpr uint64_t kCredit = 256 << 10;

const char* NameOfStream(uint32_t stream) { return stream == CSB_STREAM_STDERR ? "stderr" : "stdout"; }

// The answer begins with the first event, so that what fails before it has a status of its own.
// Credit goes back when the client's kernel has taken the text: who reads slowly slows the program.
class StreamedRun final : public JsonExchange {
 public:
  StreamedRun(App& app, ThreadState& thread, Incoming in, Responder& out, bool events)
      : JsonExchange(app, thread, std::move(in), out), events_(events) {}

  void OnPayload(Payload payload) override {
    base64_ = payload.base64;
    if (Follows()) return Follow(std::move(payload.json));
    if (!Submit(payload.json, payload.input.has_value(), kCredit)) return;
    if (payload.input) FeedInput(*std::move(payload.input));
    out_.CallBack(app_.settings.heartbeat);
  }

  void OnOutput(uint32_t stream, std::string data) override {
    if (stream != CSB_STREAM_STDOUT && stream != CSB_STREAM_STDERR) return call_->Credit(data.size());
    if (base64_) return SendBytes(stream, data);
    SendText(stream, decoder_[stream == CSB_STREAM_STDERR].Decode(data), data.size());
  }

  void OnEvent(uint32_t event, std::string_view json) override {
    auto doc = json::ParseObject(json);
    if (!doc) return;  // nothing to tell; the run goes on
    if (event == CSB_EVENT_DROPPED) {
      const auto stream = static_cast<uint32_t>(json::GetInt(*doc, "stream").value_or(CSB_STREAM_STDOUT));
      Flush(stream);
      Send("dropped", [&](json::Writer& w) {
        json::Member(w, "stream", NameOfStream(stream));
        json::Member(w, "bytes", json::GetInt(*doc, "bytes").value_or(0));
      });
    } else if (event == CSB_EVENT_RESULT) {
      Flush(CSB_STREAM_STDOUT);
      Flush(CSB_STREAM_STDERR);
      Send("result", [&](json::Writer& w) {
        for (const char* name : {"kind", "data"})
          if (const json::Value* value = json::Find(*doc, name)) {
            json::Key(w, name);
            value->Accept(w);
          }
      });
    } else if (event == CSB_EVENT_PROGRESS) {
      Send("progress", [&](json::Writer& w) {
        json::Member(w, "message", json::GetString(*doc, "message").value_or(""));
      });
    }
  }

  void OnDone(const OutcomeView& outcome) override {
    if (!outcome.ok()) return Fail(outcome.error());
    if (Follows()) return Followed(outcome.result);
    auto run = ExecutionCollector({}).Finish(outcome.result);
    if (!run) return Fail(run.error());
    Flush(CSB_STREAM_STDOUT);
    Flush(CSB_STREAM_STDERR);
    Send("exit", [&](json::Writer& w) { WriteRun(w, in_.route->op, *run, outcome.result); });
    out_.End();
  }

  void OnSent(uint64_t credit) override {
    if (call_ != nullptr) call_->Credit(credit);
  }

  // A comment, which clients skip; lines of JSON have none, there the connection is just kept.
  void OnTimer() override {
    if (events_) {
      Begin();
      out_.Write(": still running\n\n", 0);
    }
    out_.CallBack(app_.settings.heartbeat);
  }

 protected:
  void Fail(const Error& error) override {
    if (answered_ || !out_.begun()) return JsonExchange::Fail(error);
    answered_ = true;
    call_->Abandon();
    const auto doc = json::ParseObject(ErrorDocument(error));
    Send("error", [&](json::Writer& w) {
      for (const char* name : {"error", "detail", "code"})
        json::Member(w, name, json::GetString(*doc, name).value_or(""));
      json::Member(w, "status", StatusOf(error.code));
    });
    out_.End();
  }

 private:
  bool Follows() const { return in_.route->op == CSB_OP_PROCESS_OUTPUT; }

  // A process to its end; a client that goes away leaves it running.
  void Follow(std::string payload) {
    base64_ = in_.target.Get("encoding") == "base64";
    if (!in_.target.Get("offset")) payload.insert(payload.size() - 1, R"(,"offset":0)");
    if (Submit(payload, false, kCredit, CSB_OP_PROCESS_ATTACH)) out_.CallBack(app_.settings.heartbeat);
  }

  void Followed(std::string_view result) {
    const auto info = json::ParseObject(result);
    if (!info) return Fail({CSB_E_INTERNAL, "the backend's answer: " + info.error().message, "", false});
    Flush(CSB_STREAM_STDOUT);
    Flush(CSB_STREAM_STDERR);
    Send("exit", [&](json::Writer& w) {
      for (const auto& member : info->GetObject()) {
        json::Key(w, {member.name.GetString(), member.name.GetStringLength()});
        member.value.Accept(w);
      }
    });
    out_.End();
  }

  void Begin() {
    if (!out_.begun())
      out_.Begin({.content_type = events_ ? kEventStream : kNdjson, .fields = "X-Accel-Buffering: no\r\n"},
                 {});
  }

  void Flush(uint32_t stream) { SendText(stream, decoder_[stream == CSB_STREAM_STDERR].Finish(), 0); }

  void SendText(uint32_t stream, const std::string& text, uint64_t credit) {
    if (text.empty()) {
      if (call_ != nullptr) call_->Credit(credit);  // a character's first bytes: kept by the decoder
      return;
    }
    Send(
        NameOfStream(stream), [&](json::Writer& w) { json::Member(w, "data", std::string_view(text)); },
        credit);
  }

  void SendBytes(uint32_t stream, const std::string& data) {
    Send(
        NameOfStream(stream),
        [&](json::Writer& w) {
          json::Member(w, "data", std::string_view(base64::Encode(data)));
          json::Member(w, "encoding", "base64");
        },
        data.size());
  }

  template <typename Members>
  void Send(const char* event, Members members, uint64_t credit = 0) {
    json::Buffer buffer;
    json::Writer w(buffer);
    w.StartObject();
    json::Member(w, "event", event);
    members(w);
    w.EndObject();
    std::string text;
    if (events_) text.append("event: ").append(event).append("\ndata: ");
    text.append(buffer.GetString(), buffer.GetSize()).append(events_ ? "\n\n" : "\n");
    Begin();
    out_.Write(std::move(text), credit);
    out_.CallBack(app_.settings.heartbeat);
  }

  const bool events_;
  bool base64_ = false;
  utf8::StreamDecoder decoder_[2];
};

}  // namespace

std::unique_ptr<Exchange> StreamedRunExchange(App& app, ThreadState& thread, Incoming in, Responder& out,
                                              bool server_sent_events) {
  return std::make_unique<StreamedRun>(app, thread, std::move(in), out, server_sent_events);
}

}  // namespace csb::http
