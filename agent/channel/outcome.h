// SPDX-License-Identifier: Apache-2.0
//
// outcome.h: how an end is told: from what is known about it to the payload of DONE
// (docs/operations.md, "Running code").
//
//   OutcomeInput input;
//   input.report = report;
//   channel.Send(Kind::kDone, 0, id, DonePayload(command, input));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/command/command.h"
#include "agent/process/spec.h"
#include "clara_sandbox/cpp/result.h"

namespace csb::agent {

struct OutcomeInput {
  Report report;
  uint64_t timeout_ms = 0;
  bool deadline = false;                // killed by us for its deadline
  bool cancelled = false;               // killed by us for another reason
  bool lost = false;                    // the supervisor was killed from inside
  bool oom_counted = false;             // the kernel killed something here for memory meanwhile
  std::optional<uint64_t> memory_used;  // bytes that are held after that
  bool pip_missing = false;             // python said that it has no pip
  bool pip_no_match = false;            // pip found nothing to install
  double seconds = 0;
  uint64_t stdout_bytes = 0, stderr_bytes = 0, stdout_dropped = 0, stderr_dropped = 0;
  std::string last_line;        // of a task
  std::optional<Error> failed;  // it never began, for this reason
  // More members of a run's result: name and JSON text.
  std::vector<std::pair<std::string, std::string>> more;
};

std::string DonePayload(const Command& command, const OutcomeInput& input);
std::string ErrorPayload(const Error& error);

}  // namespace csb::agent
