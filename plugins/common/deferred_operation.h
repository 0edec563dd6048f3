// SPDX-License-Identifier: Apache-2.0
//
// deferred_operation.h: an operation that waits until its sandbox has been found again by a worker;
// then it is the agent's. Credit and cancel that come meanwhile are not lost.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/event_sink.h"
#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/operation.h"
#include "clara_sandbox/cpp/request.h"
#include "plugins/common/agent_operation.h"

namespace csb {

class DeferredOperation : public Operation {
 public:
  DeferredOperation(HostRef host, Request request, EventSink sink)
      : host_(host), request_(std::move(request)), sink_(std::move(sink)) {}

  const std::string& user() const { return request_.user; }
  // Exactly one of these, once. `channel` may be null.
  void Run(const std::shared_ptr<AgentChannel>& channel, OutcomeHook hook);
  void Fail(const Error& error);

  // No input comes before the agent granted credit for it.
  Status Input(std::string_view data, bool eof) override;
  void Credit(uint64_t bytes) override;
  void Cancel(csb_status cause) override;

 private:
  const HostRef host_;
  const Request request_;
  const EventSink sink_;
  std::mutex mutex_;
  std::shared_ptr<Operation> inner_;
  uint64_t credit_ = 0;
  bool over_ = false;
};

}  // namespace csb
