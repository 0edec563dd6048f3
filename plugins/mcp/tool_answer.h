// SPDX-License-Identifier: Apache-2.0
//
// tool_answer.h: gathers what one tool call's operation sends and makes the result of tools/call
// of it. Memory is bounded by ToolOptions::max_output, for an image by kMaxImage.
//
//   ToolAnswer answer(tool, std::move(request), revision, options);
//   … answer.OnOutput(call, stream, data) … and the other events, as they come
//   send(ResultLine(id, answer.Result(outcome)));
//
// Not thread-safe: the events of one operation never overlap.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "clara_sandbox/cpp/service_client.h"
#include "plugins/mcp/revision.h"
#include "plugins/mcp/run_answer.h"
#include "plugins/mcp/tools.h"

namespace csb::mcp {

inline constexpr size_t kMaxImage = 4 << 20;  // bytes; in base64 well under what clients take in one message

class ToolAnswer {
 public:
  ToolAnswer(const Tool& tool, ToolRequest request, const Revision& revision, const ToolOptions& options);

  // What to submit; its texts live as long as this.
  RequestView Request(std::string_view request_id) const;

  void OnOutput(Call& call, uint32_t stream, std::string_view data);
  void OnEvent(uint32_t event, std::string_view json);
  void OnInputCredit(Call& call, uint64_t bytes);

  // The result object of tools/call. Failures of the tool are results too, with isError.
  std::string Result(const OutcomeView& outcome);

 private:
  std::string ReadResult();
  std::string WriteResult(const OutcomeView& outcome);
  std::string ListResult(const OutcomeView& outcome);
  std::string PartialOutput() const;
  bool Wanted() const;
  bool TakesInput() const { return tool_.answer == Answer::kWrite || tool_.answer == Answer::kInput; }

  const Tool& tool_;
  const ToolRequest request_;
  const Revision& revision_;
  const size_t max_output_;
  RunAnswer run_;
  // kRead, kOutput
  std::string data_;
  std::string_view image_type_;
  std::string path_;
  uint64_t file_size_ = 0, offset_ = 0, length_ = 0;
  bool enough_ = false;
  // kWrite, kInput
  size_t sent_ = 0;
  bool eof_sent_ = false;
};

// A result with isError that says only this.
std::string ErrorResult(const Error& error);

}  // namespace csb::mcp
