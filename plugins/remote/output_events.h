// SPDX-License-Identifier: Apache-2.0
//
// output_events.h: the events of a stream that are output, as they go on to the sink.
//
//   switch (PassOutput(*event, out)) { case Passed::kOther: … }
#pragma once

#include "clara_sandbox/cpp/json.h"
#include "plugins/remote/outbox.h"

namespace csb::remote {

enum class Passed { kYes, kOther, kUnreadable };

// stdout stderr dropped progress.
Passed PassOutput(const json::Document& event, Outbox& out);

// {"stream", "bytes"} of CSB_EVENT_DROPPED.
std::string DroppedEvent(uint32_t stream, uint64_t bytes);

}  // namespace csb::remote
