// SPDX-License-Identifier: Apache-2.0
//
// run_members.h: the members of a run's answer, the same in a document and in the event `exit`.
//
//   auto run = collector.Finish(result);
//   WriteRun(writer, CSB_OP_SHELL, *run, result);   // success output error … cause signal message hint
#pragma once

#include <cstdint>
#include <string_view>

#include "clara_sandbox/cpp/json.h"
#include "plugins/common/execution_collector.h"

namespace csb::http {

// `result`: what `run` was made of; of CSB_OP_UNZIP it has more members to tell.
void WriteRun(json::Writer& writer, uint32_t op, const Execution& run, std::string_view result);

}  // namespace csb::http
