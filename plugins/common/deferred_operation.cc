// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/deferred_operation.h"

namespace csb {

void DeferredOperation::Run(const std::shared_ptr<AgentChannel>& channel, OutcomeHook hook) {
  if (channel == nullptr)
    return Fail({CSB_E_NO_SANDBOX, "the sandbox ended before the operation began", "call again", true});
  Result<std::shared_ptr<Operation>> started{std::shared_ptr<Operation>()};
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    started = RunOnAgent(host_, channel, request_.view(), sink_, std::move(hook));
    over_ = true;
    if (started) {
      inner_ = *started;
      if (credit_ > 0) inner_->Credit(credit_);
      return;
    }
  }
  sink_.Fail(started.error());
}

void DeferredOperation::Fail(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    over_ = true;
  }
  sink_.Fail(error);
}

Status DeferredOperation::Input(std::string_view data, bool eof) {
  std::shared_ptr<Operation> inner;
  {
    const std::lock_guard lock(mutex_);
    inner = inner_;
  }
  if (inner == nullptr) return Error{CSB_E_INVALID, "input beyond its credit", "", false};
  return inner->Input(data, eof);
}

void DeferredOperation::Credit(uint64_t bytes) {
  std::shared_ptr<Operation> inner;
  {
    const std::lock_guard lock(mutex_);
    inner = inner_;
    if (inner == nullptr) credit_ += bytes;
  }
  if (inner != nullptr) inner->Credit(bytes);
}

void DeferredOperation::Cancel(csb_status cause) {
  std::shared_ptr<Operation> inner;
  {
    const std::lock_guard lock(mutex_);
    inner = inner_;
  }
  if (inner != nullptr) return inner->Cancel(cause);
  Fail({cause == CSB_E_DEADLINE ? CSB_E_DEADLINE : CSB_E_CANCELLED,
        cause == CSB_E_DEADLINE ? "the deadline passed before the operation began"
                                : "cancelled before the operation began",
        "", true});
}

}  // namespace csb
