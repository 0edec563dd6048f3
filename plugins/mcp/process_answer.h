// SPDX-License-Identifier: Apache-2.0
//
// process_answer.h: what a model is told of processes: how one is, how all are, what one printed.
// `result` is the JSON of an outcome with CSB_OK.
//
//   std::string answer = ProcessResult(outcome.result, revision);
#pragma once

#include <string>
#include <string_view>

#include "plugins/mcp/revision.h"

namespace csb::mcp {

std::string ProcessResult(std::string_view result, const Revision& revision);
std::string ProcessesResult(std::string_view result, const Revision& revision);
// `bytes`: of both streams, as they came.
std::string OutputResult(std::string_view bytes, std::string_view result, const Revision& revision);
std::string InputResult(std::string_view result, const Revision& revision);
std::string ResetResult(std::string_view result, const Revision& revision);

}  // namespace csb::mcp
