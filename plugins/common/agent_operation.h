// SPDX-License-Identifier: Apache-2.0
//
// agent_operation.h: from an operation of the ABI to a stream of an agent's channel, for every
// local backend: execute shell exec pip_* file_* unzip are answered by the agent alike.
//
//   if (RunsOnAgent(request.op)) return RunOnAgent(host, sandbox->channel, request, sink, amend);
//
// The payload goes to the agent as it is, but for "timeout", which the request's deadline replaces.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "clara_sandbox/cpp/event_sink.h"
#include "clara_sandbox/cpp/host_ref.h"
#include "clara_sandbox/cpp/operation.h"
#include "clara_sandbox/cpp/request.h"
#include "clara_sandbox/cpp/result.h"
#include "plugins/common/agent_channel.h"

namespace csb {

// Whether the agent answers this operation (CSB_OP_*) by itself.
bool RunsOnAgent(uint32_t op);

// Called with each outcome right before the submitter gets it, on the reactor's thread; must not
// block. For what only the host's side knows, as a memory limit's counter (AmendToOom).
using OutcomeHook = std::function<void(uint32_t op, AgentOutcome& outcome)>;

// Starts the operation; what Backend::Submit returns. CSB_E_NO_SANDBOX when the channel is not
// ready or has ended: nothing was run. `amend` may be empty.
Result<std::shared_ptr<Operation>> RunOnAgent(const HostRef& host,
                                              const std::shared_ptr<AgentChannel>& channel,
                                              const RequestView& request, EventSink sink,
                                              OutcomeHook amend = {});

}  // namespace csb
