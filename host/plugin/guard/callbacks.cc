// SPDX-License-Identifier: Apache-2.0
//
// Everything here is called by a plugin, in any order, from any thread, with any arguments.
#include "host/plugin/guard/callbacks.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/detail/op_state.h"
#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/utf8.h"
#include "host/plugin/guard/enforce.h"
#include "host/plugin/guard/registry.h"
#include "host/plugin/guard/slot.h"

namespace csb::host::guard {

namespace {

// Around each callback: finds the slot and checks when and where the callback comes.
class Entered {
 public:
  Entered(void* ticket, const char* callback) : slot_(Slots::Get().Hold(ticket)) {
    if (slot_ == nullptr) {
      ReportStray(ticket, callback);
    } else if (detail::InsideCall::Of(slot_) || Speaking::Mine(slot_)) {
      Breach(slot_, std::string("called ") + callback + " from inside a call (rule 16)");
    } else if (slot_->in_callback.exchange(true)) {
      Breach(slot_, std::string("called ") + callback + " while another callback ran (rule 15)");
    } else {
      entered_ = true;
    }
  }
  ~Entered() {
    if (slot_ == nullptr) return;
    if (entered_) slot_->in_callback.store(false);
    Slots::Get().LetInCallback(slot_);
  }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

  Slot* slot() const { return slot_; }
  // The event may be passed on.
  bool Good(const char* callback) const {
    if (slot_ == nullptr) return false;
    if (slot_->backend_done) {
      Registry::Get().Report(slot_->backend_id, std::string("called ") + callback +
                                                    " after on_done (rule 13) in " + OperationText(slot_));
      return false;
    }
    return entered_ && !slot_->broken;
  }

 private:
  Slot* slot_;
  bool entered_ = false;
};

bool WellFormed(csb_str s) { return s.size == 0 || s.data != nullptr; }

// All the way through, since what a plugin says is handed on to clients as it came.
bool IsJsonObject(std::string_view text) {
  if (text.empty() || text.front() != '{' || text.find('\0') != text.npos ||
      json::DeeperThan(text, json::kMaxDepth))
    return false;
  rapidjson::MemoryStream bytes(text.data(), text.size());
  rapidjson::BaseReaderHandler<> nothing;
  rapidjson::Reader reader;
  return !reader.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(bytes, nothing)
              .IsError();
}

void OnOutput(void* ticket, uint32_t stream, csb_str data) noexcept {
  const Entered entered(ticket, "on_output");
  if (!entered.Good("on_output")) return;
  Slot* slot = entered.slot();
  if (!WellFormed(data)) return Breach(slot, "sent output with a null pointer (rule 19)");
  if (stream < CSB_STREAM_STDOUT || stream > CSB_STREAM_DATA)
    return Breach(slot,
                  "sent output on stream " + std::to_string(stream) + ", which does not exist (rule 19)");
  if (data.size == 0) return;
  uint64_t credit = slot->output_credit.load(std::memory_order_acquire);
  do {
    if (data.size > credit)
      return Breach(slot, "sent " + std::to_string(data.size) + " bytes of output with a credit of " +
                              std::to_string(credit) + " (rule 14)");
  } while (!slot->output_credit.compare_exchange_weak(credit, credit - data.size, std::memory_order_acq_rel));
  const Speaking speaking(slot);
  if (slot->told) return;
  slot->heard = true;
  slot->events->on_output(slot->ctx, stream, data);
}

void OnEvent(void* ticket, uint32_t event, csb_str json) noexcept {
  const Entered entered(ticket, "on_event");
  if (!entered.Good("on_event")) return;
  Slot* slot = entered.slot();
  if (!WellFormed(json)) return Breach(slot, "sent an event with a null pointer (rule 19)");
  if (json.size != 0 && !IsJsonObject(View(json)))
    return Breach(slot, "sent event " + std::to_string(event) + ", which is no JSON object (rule 19)");
  const Speaking speaking(slot);
  if (slot->told) return;
  slot->heard = true;
  slot->events->on_event(slot->ctx, event, json);
}

void OnInputCredit(void* ticket, uint64_t bytes) noexcept {
  const Entered entered(ticket, "on_input_credit");
  if (!entered.Good("on_input_credit")) return;
  Slot* slot = entered.slot();
  slot->input_to_pass.fetch_add(bytes);
  // Before Submit has returned the submitter could not send anything: Submit passes it on then.
  if (slot->accepted) PassInputCredit(slot);
}

// What is wrong with an outcome, or empty.
std::string Fault(const csb_outcome* o) {
  if (o == nullptr) return "ended with a null outcome (rule 19)";
  if (o->struct_size < offsetof(csb_outcome, hint) + sizeof(csb_outcome::hint))
    return "ended with an outcome of struct_size " + std::to_string(o->struct_size) + " (rule 19)";
  if (!WellFormed(o->result) || !WellFormed(o->message) || !WellFormed(o->hint))
    return "ended with a null pointer in its outcome (rule 19)";
  if (o->code < 0) return "ended with the code " + std::to_string(o->code) + " (rule 19)";
  const std::string_view result = View(o->result);
  if (o->code == CSB_OK && !result.empty() && !IsJsonObject(result))
    return "ended with a result that is no JSON object (rule 19)";
  return {};
}

void Tell(Slot* slot, const csb_outcome& given) {
  csb_outcome outcome{sizeof(csb_outcome), given.code,    given.retryable, 0,
                      given.result,        given.message, given.hint};
  std::string message, hint;
  if (given.code == CSB_OK) {
    if (given.result.size == 0) outcome.result = Str("{}");
    outcome.message = outcome.hint = {};
  } else {
    outcome.result = {};
    message = given.message.size != 0 ? utf8::Clean(View(given.message))
                                      : "plugin " + Registry::Get().name(slot->backend_id) +
                                            " gave no reason for code " + std::to_string(given.code);
    hint = utf8::Clean(View(given.hint));
    outcome.message = Str(message);
    outcome.hint = Str(hint);
  }
  const Speaking speaking(slot);
  if (slot->told || slot->broken) return;
  slot->told = true;
  slot->heard = true;
  slot->events->on_done(slot->ctx, &outcome);
}

void OnDone(void* ticket, const csb_outcome* outcome) noexcept {
  const Entered entered(ticket, "on_done");
  Slot* slot = entered.slot();
  if (slot == nullptr) return;
  if (slot->backend_done.exchange(true))
    return Registry::Get().Report(slot->backend_id,
                                  "called on_done twice (rule 12) in " + OperationText(slot));
  Disarm(slot);
  if (const std::string fault = Fault(outcome); !fault.empty()) Breach(slot, fault);
  if (!slot->broken) Tell(slot, *outcome);
  Slots::Get().Let(slot);  // the backend's own reference; `entered` has another
}

}  // namespace

const csb_events kCallbacks{sizeof(csb_events), 0, &OnOutput, &OnEvent, &OnInputCredit, &OnDone};

}  // namespace csb::host::guard
