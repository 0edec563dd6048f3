// SPDX-License-Identifier: Apache-2.0
//
// run_answer.h: what a model is told of a run: its output, what its code showed, how it ended, and
// what to do next when it has not.
//
//   RunAnswer run(options.max_output);
//   run.Output(bytes), run.Event(event, json);        // as they come
//   std::string result = run.Result(outcome.result, revision);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/model_output.h"
#include "plugins/common/result_collector.h"
#include "plugins/mcp/revision.h"

namespace csb::mcp {

// Of all images in one answer, in base64: a client takes 10 MiB in one message.
inline constexpr size_t kMaxImages = 8 << 20;

class RunAnswer {
 public:
  explicit RunAnswer(size_t max_output) : max_output_(max_output), output_(max_output) {}
  void Output(std::string_view bytes) { output_.Append(bytes); }
  void Event(uint32_t event, std::string_view json);
  // `result`: of an outcome with CSB_OK.
  std::string Result(std::string_view result, const Revision& revision) const;
  // What was printed until it was lost.
  std::string Partial() const { return output_.bytes() == 0 ? std::string() : output_.Text({}); }

 private:
  struct Image {
    std::string type, base64;
  };
  struct Shown {
    std::string text;
    std::vector<Image> images;
  };
  Shown WhatWasShown() const;

  const size_t max_output_;
  ModelOutput output_;
  ResultCollector results_;
};

}  // namespace csb::mcp
