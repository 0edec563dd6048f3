// SPDX-License-Identifier: Apache-2.0
//
// agent_result.h: what an agent may say about an operation, checked. The text is hostile: a
// sandbox's code may have taken its agent over.
//
//   auto outcome = ParseDone("shell", payload);       // of a DONE frame
//   if (!outcome) EndChannel(outcome.error().message);
//
// The shapes are those of docs/operations.md. An Error here means "not a thing an agent says",
// and the message says which member is wrong; it never quotes what the agent sent.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/result.h"
#include "plugins/common/agent_channel.h"

namespace csb {

// Operations that run a program: their results have exit_code, cause and so on.
bool RunsProgram(std::string_view op);
// Those, and the ones that hand on what a program printed.
bool PrintsOutput(std::string_view op);

// The payload of HELLO. A protocol version other than ours is an Error too.
Result<AgentHello> ParseHello(std::string_view payload);

// The payload of DONE for this operation. The result's members are checked, others are kept.
// Codes that only the host may give (no sandbox, gone, unauthorized …) are refused.
Result<AgentOutcome> ParseDone(std::string_view op, std::string_view payload);

struct AgentEvent {
  bool known = false;   // false: an id of a later version, to be ignored
  uint64_t length = 0;  // CSB_EVENT_META: bytes of data that will follow
};
// The payload of EVENT with this id (CSB_EVENT_*).
Result<AgentEvent> ParseEvent(uint32_t event, std::string_view payload);

// For a backend that knows better than the agent: the same result as the end by the memory limit
// ("OOM killed: …"), exit code 137. Outcomes that are not results of a program stay as they are.
void AmendToOom(AgentOutcome& outcome, std::string_view limit, std::string_view hint);

}  // namespace csb
