// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/agent_operation.h"

#include <algorithm>
#include <string>
#include <utility>

#include "clara_sandbox/cpp/json.h"
#include "clara_sandbox/cpp/operations.h"

namespace csb {
namespace {

class AgentOperation final : public Operation, public AgentSink {
 public:
  AgentOperation(uint32_t op, EventSink sink, OutcomeHook amend)
      : op_(op), sink_(std::move(sink)), amend_(std::move(amend)) {}

  Status Start(const std::shared_ptr<AgentOperation>& self, AgentChannel& channel, const AgentOpen& open) {
    self_ = self;  // until OnDone: the submitter may close at any time after it, the channel calls until then
    Status started = channel.Start(open, this, &stream_);
    if (!started) self_.reset();
    return started;
  }

  Status Input(std::string_view data, bool eof) override { return stream_.Input(data, eof); }
  void Credit(uint64_t bytes) override { stream_.Credit(bytes); }
  void Cancel(csb_status cause) override { stream_.Cancel(cause); }

  // The channel never lets through more than the credit that the sink knows of.
  void OnOutput(uint32_t stream, std::string_view data) override { sink_.Output(stream, data); }
  void OnEvent(uint32_t event, std::string_view json) override { sink_.Event(event, json); }
  void OnInputCredit(uint64_t bytes) override { sink_.InputCredit(bytes); }
  void OnDone(AgentOutcome outcome) override {
    const std::shared_ptr<AgentOperation> self = std::move(self_);
    if (amend_) amend_(op_, outcome);
    if (outcome.code == CSB_OK)
      sink_.Done(outcome.result);
    else
      sink_.Fail({outcome.code, std::move(outcome.message), std::move(outcome.hint), outcome.retryable});
  }

 private:
  const uint32_t op_;
  const EventSink sink_;
  const OutcomeHook amend_;
  AgentStream stream_;
  std::shared_ptr<AgentOperation> self_;
};

uint64_t TimeoutMs(const HostRef& host, uint64_t deadline_ns) {
  if (deadline_ns == 0) return 0;
  const uint64_t now = host.NowNs();
  // One that has passed already is the agent's to report, as any other.
  if (deadline_ns <= now) return 1;
  return (deadline_ns - now + 999'999) / 1'000'000;
}

}  // namespace

bool RunsOnAgent(uint32_t op) {
  switch (op) {
    case CSB_OP_EXECUTE:
    case CSB_OP_SHELL:
    case CSB_OP_EXEC:
    case CSB_OP_PIP_INSTALL:
    case CSB_OP_PIP_LIST:
    case CSB_OP_FILE_READ:
    case CSB_OP_FILE_WRITE:
    case CSB_OP_FILE_DELETE:
    case CSB_OP_FILE_LIST:
    case CSB_OP_FILE_STAT:
    case CSB_OP_UNZIP:
    case CSB_OP_CONTEXT_LIST:
    case CSB_OP_CONTEXT_DELETE:
    case CSB_OP_PROCESS_START:
    case CSB_OP_PROCESS_LIST:
    case CSB_OP_PROCESS_OUTPUT:
    case CSB_OP_PROCESS_INPUT:
    case CSB_OP_PROCESS_SIGNAL:
    case CSB_OP_PROCESS_WAIT:
    case CSB_OP_PROCESS_ATTACH:
    case CSB_OP_PROCESS_RESIZE:
    case CSB_OP_PROCESS_REMOVE:
      return true;
    default:
      return false;
  }
}

Result<std::shared_ptr<Operation>> RunOnAgent(const HostRef& host,
                                              const std::shared_ptr<AgentChannel>& channel,
                                              const RequestView& request, EventSink sink, OutcomeHook amend) {
  auto payload = json::ParseObject(request.payload);
  if (!payload) return payload.error();
  std::string without_timeout;
  std::string_view args = request.payload;
  // Of a run it is the deadline, which travels beside the payload; of a process it is the agent's to keep.
  const bool deadline = request.op != CSB_OP_PROCESS_START && request.op != CSB_OP_PROCESS_WAIT;
  if (deadline && payload->RemoveMember("timeout")) {
    while (payload->RemoveMember("timeout")) continue;  // a name may stand twice
    without_timeout = json::ToString(*payload);
    args = without_timeout;
  }
  auto op = std::make_shared<AgentOperation>(request.op, std::move(sink), std::move(amend));
  const Status started = op->Start(op, *channel,
                                   {.op = NameOfOperation(request.op),
                                    .args = args,
                                    .timeout_ms = TimeoutMs(host, request.deadline_ns),
                                    .credit = request.output_credit,
                                    .input = request.has_input()});
  if (!started) return started.error();
  return std::shared_ptr<Operation>(std::move(op));
}

}  // namespace csb
